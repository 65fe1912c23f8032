"""Packets of Acrel's data gateway: 1F 1F | type 1 | length 4, big endian | data.

Inside: XML for 01 and 02, AES-128-CBC (key = IV = the 16-character secret, PKCS#7) for the rest, deflated
before for 04. Everything is bounded: the packet, the inflated size, and XML with a DTD is refused.
Evidence: frame, cipher and texts by one open system [1]; the shape of the XML (common, id_validate) is
that of the national building-energy collectors, seen in several public programs [S].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from xml.parsers import expat
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from workers.protocols.errors import FrameError, LongAnswer

_START = b"\x1f\x1f"
_HEADER = 7
_BLOCK_BITS = 128
_MOST_INFLATED = 1024 * 1024
_DEEPEST, _MOST_ELEMENTS = 8, 20_000


class Kind(IntEnum):
    """The type byte. 01 to 04 and F2 start at the gateway, F1 at the server."""

    AUTHENTICATE = 0x01
    HEARTBEAT = 0x02
    DATA = 0x03
    DEFLATED_DATA = 0x04
    DOWNLINK = 0xF1
    DOWNLINK_ANSWER = 0xF2


@dataclass(frozen=True, slots=True)
class Element:
    """One XML element: its name, attributes, the names of those around it, and its own text."""

    path: tuple[str, ...]
    attributes: Mapping[str, str]
    text: str = ""


@dataclass(slots=True)
class _Reading:
    elements: list[Element] = field(default_factory=list)
    open_ones: list[tuple[Mapping[str, str], list[str]]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def packet(kind: Kind, data: bytes) -> bytes:
    """The bytes on the wire."""
    return _START + bytes([kind]) + len(data).to_bytes(4, "big") + data


def take_packet(buffer: bytes, *, most: int) -> tuple[tuple[int, bytes] | None, bytes]:
    """Cut the first packet off a stream: ((type, data), rest), or (None, buffer) for more bytes.

    Raises LongAnswer for one of more than `most` data bytes, FrameError when it does not begin one:
    TCP loses nothing, so there is no hunting for the next beginning.
    """
    if buffer[:2] != _START[: len(buffer)]:
        raise FrameError("a packet starts with 1F 1F")
    if len(buffer) < _HEADER:
        return None, buffer
    size = int.from_bytes(buffer[3:_HEADER], "big")
    if size > most:
        raise LongAnswer(f"a packet of {size} bytes, at most {most} are taken")
    if len(buffer) < _HEADER + size:
        return None, buffer
    return (buffer[2], buffer[_HEADER : _HEADER + size]), buffer[_HEADER + size :]


def encrypt(plain: bytes, *, secret: str) -> bytes:
    """AES-128-CBC with the secret as key and IV. Raises ValueError unless it has 16 ASCII characters."""
    padder = PKCS7(_BLOCK_BITS).padder()
    encryptor = _cipher(secret).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def decrypt(sealed: bytes, *, secret: str) -> bytes:
    """The plain bytes. Nothing authenticates them. Raises FrameError when the padding is not right."""
    decryptor = _cipher(secret).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(sealed) + decryptor.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError as wrong:
        raise FrameError("it does not decrypt: another secret, or damaged") from wrong


def _cipher(secret: str) -> Cipher[CBC]:
    key = secret.encode("ascii")
    return Cipher(AES(key), CBC(key))


def inflate(deflated: bytes) -> bytes:
    """The inflated bytes. Raises FrameError; LongAnswer when they would be more than a megabyte."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(deflated, _MOST_INFLATED)
    except zlib.error as wrong:
        raise FrameError("it does not inflate") from wrong
    if inflater.unconsumed_tail:
        raise LongAnswer(f"it inflates to more than {_MOST_INFLATED} bytes")
    if not inflater.eof:
        raise FrameError("the deflated data is cut short")
    return plain


def read_xml(raw: bytes) -> list[Element]:
    """The elements of a document, each where it ends.

    Raises FrameError for anything that is not well-formed, has a DTD or entities of its own, is nested
    deeper than 8 or has more than 20,000 elements.
    """
    reading = _Reading()
    parser = expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise FrameError("XML with a DTD is not taken")

    def begin(name: str, attributes: dict[str, str]) -> None:
        reading.names.append(name)
        reading.open_ones.append((attributes, []))
        if len(reading.names) > _DEEPEST or len(reading.elements) > _MOST_ELEMENTS:
            raise FrameError("XML that is too deep or too long")

    def text(part: str) -> None:
        reading.open_ones[-1][1].append(part)

    def end(_: str) -> None:
        attributes, parts = reading.open_ones.pop()
        reading.elements.append(Element(tuple(reading.names), attributes, "".join(parts).strip()))
        reading.names.pop()

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.CharacterDataHandler = text
    parser.EndElementHandler = end
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as wrong:
        raise FrameError("XML that is not well-formed") from wrong
    return reading.elements


def text_of(elements: list[Element], *path: str) -> str:
    """The text of the first element at `path` below the root; empty when there is none."""
    found = (item.text for item in elements if item.path[1:] == path)
    return next(found, "")


def common_xml(*, building: str, gateway: str, kind: str, inside: str) -> bytes:
    """A document of the server: the ids (escaped here) and `inside`, which is XML already."""
    head = (
        f"<building_id>{escape(building)}</building_id>"
        f"<gateway_id>{escape(gateway)}</gateway_id><type>{kind}</type>"
    )
    declaration = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{declaration}<root><common>{head}</common>{inside}</root>".encode()
