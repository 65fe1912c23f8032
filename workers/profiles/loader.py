"""Read, check and find profiles. A wrong one says which key is wrong and why."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from backend.kernel.errors import InvalidInput, NotFound
from workers.protocols.values import RegisterType, WordOrder

from .model import (
    Block,
    ClockField,
    Field,
    FlagField,
    Profile,
    RelayField,
    SaleWrite,
    SwitchWrite,
    WalletRead,
)

PROFILE_DIR = Path(__file__).parent

_Tree = dict[str, Any]  # a parsed TOML document, before its shape is known


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
    faults = [
        f"{_key(error.absolute_path)}: {error.message}"
        for error in sorted(_validator().iter_errors(tree), key=lambda e: list(map(str, e.path)))
    ]
    return faults or list(_contradictions(tree))


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
    found: dict[str, Profile] = {}
    for path in sorted(PROFILE_DIR.glob("*.toml")):
        profile = load_profile(path)
        if profile.model in found:
            raise ProfileError(f"profile {path.name}: model {profile.model} is there twice")
        found[profile.model] = profile
    return found


def profile_of(model: str) -> Profile:
    """The shipped profile of `model`. Raises NotFound."""
    try:
        return shipped_profiles()[model]
    except KeyError:
        raise NotFound(f"no profile for model {model}") from None


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((PROFILE_DIR / "schema.json").read_text("utf-8")))


def _key(path: Iterable[str | int]) -> str:
    key = ""
    for step in path:
        key += f"[{step}]" if isinstance(step, int) else f".{step}"
    return key.lstrip(".") or "(file)"


def _contradictions(tree: _Tree) -> Iterator[str]:
    """What a schema cannot say: names that must meet, registers that must lie inside their block."""
    blocks: dict[str, _Tree] = {}
    for index, block in enumerate(tree["blocks"]):
        if block["name"] in blocks:
            yield f"blocks[{index}].name: {block['name']} is there twice"
        blocks[block["name"]] = block
    targets: set[str] = set()
    for index, item in enumerate(tree["fields"]):
        if item["target"] in targets:
            yield f"fields[{index}].target: {item['target']} is there twice"
        targets.add(item["target"])
        yield from _outside(f"fields[{index}]", item, RegisterType(item["type"]).words, blocks)
    if "energy_wh" not in targets:
        yield "fields: energy_wh is missing"
    for index, flag in enumerate(tree.get("flags", [])):
        yield from _outside(f"flags[{index}]", flag, 1, blocks)
    if "relay" in tree:
        yield from _outside("relay", tree["relay"], 1, blocks)
    if "clock" in tree:
        yield from _outside("clock", tree["clock"], 4, blocks)
    if "sale" in tree and "wallet" not in tree:
        yield "sale: a meter that is sold to needs [wallet], or no sale can be read back"


def _outside(key: str, item: _Tree, words: int, blocks: dict[str, _Tree]) -> Iterator[str]:
    block = blocks.get(item["block"])
    if block is None:
        yield f"{key}.block: no block is named {item['block']}"
        return
    first, end = block["address"], block["address"] + block["count"]
    if not first <= item["register"] <= end - words:
        yield f"{key}.register: {item['register']:#06x} lies outside block {item['block']}"


def _build(tree: _Tree) -> Profile:
    wallet, sale, switch = tree.get("wallet"), tree.get("sale"), tree.get("switch")
    states = ("trip", "keep_power", "release")
    return Profile(
        model=tree["model"],
        maker=tree["maker"],
        kind=tree["kind"],
        phases=tree["phases"],
        protocol=tree["protocol"],
        word_order=WordOrder(tree["word_order"]),
        blocks=tuple(Block(**block) for block in tree["blocks"]),
        fields=tuple(
            Field(**{**item, "type": RegisterType(item["type"])}) for item in tree["fields"]
        ),
        relay=RelayField(**tree["relay"]) if "relay" in tree else None,
        flags=tuple(FlagField(**flag) for flag in tree.get("flags", [])),
        clock=ClockField(**tree["clock"]) if "clock" in tree else None,
        wallet=wallet
        and WalletRead(**{**wallet, "remaining_type": RegisterType(wallet["remaining_type"])}),
        sale=sale and SaleWrite(**{**sale, "layout": tuple(sale["layout"])}),
        switch=switch
        and SwitchWrite(
            function=switch["function"],
            address=switch["address"],
            states={state: tuple(switch[state]) for state in states},
            evidence=switch["evidence"],
        ),
    )
