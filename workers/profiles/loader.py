"""Read, check and find profiles. A wrong one says which key is wrong and why."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from backend.kernel.errors import InvalidInput, NotFound

from . import cjt188_map, dlt645_check, dlt645_map, modbus_map
from .model import GRADES, Map, Profile

PROFILE_DIR = Path(__file__).parent
BESIDE_A_SITE = "profiles"  # the folder of a gateway's own profiles, beside its site file

_Tree = dict[str, Any]  # a parsed TOML document, before its shape is known


@dataclass(frozen=True, slots=True)
class _Protocol:
    """What is said of one protocol's profiles beside the schema file of its name."""

    contradictions: Callable[[_Tree], Iterator[str]]
    build: Callable[[_Tree], Map]


_DLT645 = _Protocol(dlt645_check.contradictions, dlt645_map.build)
_PROTOCOLS = {
    "modbus-rtu": _Protocol(modbus_map.contradictions, modbus_map.build),
    "dlt645-2007": _DLT645,
    "dlt645-1997": _DLT645,
    "cjt188": _Protocol(cjt188_map.contradictions, cjt188_map.build),
}


class ProfileError(InvalidInput):
    """A profile breaks the schema or contradicts itself; the message lists every fault by key."""

    code = "PROFILE_ERROR"


def check_profile(path: Path) -> list[str]:
    """What is wrong with the profile at `path`, each as `key: reason`; empty when it is right.

    Raises OSError when the file cannot be read.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        return [f"(file): not TOML: {broken}"]
    return _faults(tree)


def _faults(tree: _Tree) -> list[str]:
    protocol = tree.get("protocol")
    if protocol not in _PROTOCOLS:
        return [f"protocol: {protocol!r} is not one of {', '.join(_PROTOCOLS)}"]
    errors = _validator(protocol).iter_errors(tree)
    faults = [
        f"{_key(error.absolute_path)}: {error.message}"
        for error in sorted(errors, key=lambda e: list(map(str, e.path)))
    ]
    return faults or list(_PROTOCOLS[protocol].contradictions(tree))


def load_profile(path: Path) -> Profile:
    """The profile at `path`. Raises ProfileError, OSError."""
    faults = check_profile(path)
    if faults:
        raise ProfileError(f"profile {path.name}: " + "; ".join(faults))
    return _build(tomllib.loads(path.read_text(encoding="utf-8")))


@cache
def shipped_profiles() -> dict[str, Profile]:
    """Every profile that comes with the product, by model. Raises ProfileError for a wrong one or
    for two of the same model."""
    return _loaded(PROFILE_DIR, {})


_own: dict[str, Profile] = {}


def use_own_profiles(folder: Path) -> None:
    """From here on this process knows the profiles in `folder` too: the operator's own models, read once when
    the process starts.

    Raises ProfileError for a folder that is none, for a wrong profile, and for a model that is there
    already: what ships is never replaced in silence, a changed copy takes a name of its own.
    """
    if not folder.is_dir():
        raise ProfileError(f"{folder} is no folder of profiles")
    found = _loaded(folder, shipped_profiles())
    _own.clear()
    _own.update(found)


def known_profiles() -> dict[str, Profile]:
    """Every profile that this process knows, by model: what ships and the operator's own."""
    return shipped_profiles() | _own


def profile_of(model: str) -> Profile:
    """The profile of `model`. Raises NotFound."""
    found = shipped_profiles().get(model) or _own.get(model)
    if found is None:
        raise NotFound(f"no profile for model {model}")
    return found


def _loaded(folder: Path, known: Mapping[str, Profile]) -> dict[str, Profile]:
    found: dict[str, Profile] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            profile = load_profile(path)
        except OSError as error:
            raise ProfileError(f"profile {path.name}: cannot be read: {error.strerror}") from error
        if profile.model in known:
            raise ProfileError(
                f"profile {path.name}: model {profile.model} ships with the product: name yours otherwise"
            )
        if profile.model in found:
            raise ProfileError(f"profile {path.name}: model {profile.model} is there twice")
        found[profile.model] = profile
    return found


@cache
def _validator(protocol: str) -> Draft202012Validator:
    schema = PROFILE_DIR / f"{protocol}.schema.json"
    return Draft202012Validator(json.loads(schema.read_text("utf-8")))


def _key(path: Iterable[str | int]) -> str:
    key = ""
    for step in path:
        key += f"[{step}]" if isinstance(step, int) else f".{step}"
    return key.lstrip(".") or "(file)"


def _build(tree: _Tree) -> Profile:
    return Profile(
        model=tree["model"],
        maker=tree["maker"],
        kind=tree["kind"],
        phases=tree.get("phases", 0),
        protocol=tree["protocol"],
        evidence=min(_grades(tree), key=GRADES.index),
        map=_PROTOCOLS[tree["protocol"]].build(tree),
    )


def _grades(part: object) -> Iterator[str]:
    """Every `evidence` that stands anywhere in a profile."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "evidence":
                yield value
            else:
                yield from _grades(value)
    elif isinstance(part, list):
        for value in part:
            yield from _grades(value)
