"""Who this box is: its keys and where the cloud is, in one file that only its owner may read.

The file is replaced whole and synced before anybody builds on it, so a power cut leaves the old one or
the new one. A key that was offered stands beside the old one until the cloud has answered under it.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.uplink.keys import GATEWAY_SIZE, KEY_SIZE
from backend.uplink.rotation import GatewayKeys

FILE = "gateway.json"
_OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class Identity:
    """Serial, the broker's URL (it holds a password) and the keys."""

    serial: str
    broker: str = field(repr=False)
    keys: GatewayKeys


class IdentityFile:
    """The file in the folder `data`. All methods block for a disk write at most."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE

    @property
    def exists(self) -> bool:
        """Whether this box was enrolled."""
        return self._path.exists()

    def load(self) -> Identity:
        """Raises NotFound (not enrolled), Conflict (others may read the file), InvalidInput (broken)."""
        try:
            mode = stat.S_IMODE(self._path.stat().st_mode)
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise NotFound("this box is not enrolled: shuidian gateway enrol") from None
        if mode & ~_OWNER_ONLY:
            raise Conflict(f"{self._path.name} holds keys and others may read it: chmod 600")
        try:
            return _read(json.loads(text))
        except (ValueError, KeyError, TypeError) as broken:
            raise InvalidInput(
                f"{self._path.name} is broken: enrol again with a new code"
            ) from broken

    def save(self, identity: Identity) -> None:
        """Keep `identity` durably. Raises OSError, and then the old file stands."""
        keys = identity.keys
        tree = {
            "serial": identity.serial,
            "broker": identity.broker,
            "gateway": keys.gateway.hex(),
            "version": keys.version,
            "root": keys.root.hex(),
            "pending": keys.pending and [keys.pending[0], keys.pending[1].hex()],
        }
        _replace(self._path, json.dumps(tree).encode())

    def try_save(self) -> None:
        """Write a file in the folder and take it away again. Raises OSError."""
        trial = self._path.with_suffix(".trial")
        _replace(trial, b"")
        trial.unlink()

    def save_keys(self, keys: GatewayKeys) -> None:
        """Keep new keys of the same box. Raises what `load` and `save` raise."""
        self.save(replace(self.load(), keys=keys))


def _read(tree: dict[str, Any]) -> Identity:
    gateway, pending = bytes.fromhex(tree["gateway"]), tree["pending"]
    keys = GatewayKeys(
        gateway,
        int(tree["version"]),
        bytes.fromhex(tree["root"]),
        pending and (int(pending[0]), bytes.fromhex(pending[1])),
    )
    roots = [keys.root, *([keys.pending[1]] if keys.pending else [])]
    if len(gateway) != GATEWAY_SIZE or any(len(root) != KEY_SIZE for root in roots):
        raise ValueError("a key of another length")
    return Identity(str(tree["serial"]), str(tree["broker"]), keys)


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a power cut may bring the old name back
    finally:
        os.close(folder)
