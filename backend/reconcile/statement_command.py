"""`shuidian statement verify`: whether statement files are what was signed, add up and follow each other.

Needs no database: an auditor verifies with the files and a public key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path

from backend.kernel.errors import InvalidInput

from .statement_rules import Signed, StatementBroken, name_of, read_file, verify, verify_chain


def public_keys(texts: Sequence[str]) -> dict[str, bytes]:
    """Public keys by name, of their base64 as `dailyStatement` gives it. Raises InvalidInput."""
    keys: dict[str, bytes] = {}
    for text in texts:
        try:
            public = base64.b64decode(text, validate=True)
        except binascii.Error:
            public = b""
        if len(public) != 32:
            raise InvalidInput("a public key is the base64 of 32 bytes", field="public-key")
        keys[name_of(public)] = public
    return keys


def verify_files(files: Sequence[Path], *, keys: Mapping[str, bytes]) -> list[str]:
    """A line for each statement file that holds, given in the order of their days; each must follow the
    one before it. Raises StatementBroken that names the first file that does not hold, InvalidInput when
    one cannot be read."""
    lines: list[str] = []
    before: Signed | None = None
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{path} cannot be read", field="file") from error
        try:
            signed = read_file(text)
            body = verify(signed, keys=keys)
            if before is not None:
                verify_chain(signed, previous=before)
        except StatementBroken as error:
            raise StatementBroken(f"{path}: {error.message}") from error
        chained = "follows the file before" if before else f"after {body['previous'] or 'nothing'}"
        lines.append(
            f"{path}: project {body['project']}, {body['day']}: signed by {signed.key_name},"
            f" adds up, {chained}; hash {signed.hash.hex()}"
        )
        before = signed
    return lines
