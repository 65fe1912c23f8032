"""What a reading of a Modbus meter needs beside its numbers: which blocks to ask for, and whether what
came is of the model that the profile speaks of. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backend.kernel.errors import DomainError, InvalidInput
from workers.profiles.modbus_map import Block, ModbusMap
from workers.protocols.errors import BadValue
from workers.protocols.values import RegisterType, read_int


class WrongModel(DomainError):
    """The meter says that it is another model than its profile: nothing it showed may be believed.

    `expected` and `found` are the values of the profile's identity register.
    """

    code = "WRONG_MODEL"

    def __init__(self, message: str, *, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


def blocks_to_read(layout: ModbusMap, names: Collection[str] | None = None) -> tuple[Block, ...]:
    """The blocks of one reading, in the profile's order: those that are not optional, or those named
    and the ones that hold the ratios their fields are multiplied by.

    Raises InvalidInput for a name the profile has not, and for no names at all.
    """
    if names is None:
        return tuple(block for block in layout.blocks if not block.optional)
    unknown = set(names) - {block.name for block in layout.blocks}
    if unknown or not names:
        raise InvalidInput(f"no such blocks: {', '.join(sorted(unknown))}", field="blocks")
    wanted = set(names)
    for item in layout.fields:
        if item.block in names and layout.ratios is not None:
            homes = (layout.ratios.by_name[name].block for name in item.ratios)
            wanted.update(home for home in homes if home is not None)
    return tuple(block for block in layout.blocks if block.name in wanted)


def fallback_blocks(layout: ModbusMap) -> tuple[str, ...]:
    """The optional blocks that can take the place of the others because they have a total: what to
    ask a meter that refuses the default blocks (a firmware without the prepaid poll)."""
    optional = {block.name for block in layout.blocks if block.optional}
    return tuple(
        item.block for item in layout.fields if item.target == "total" and item.block in optional
    )


def check_reading(layout: ModbusMap, blocks: Mapping[str, bytes], *, model: str) -> None:
    """Check the register bytes of `blocks` (name to bytes) before anything is decoded from them.

    Raises WrongModel when the profile names an identity register, its block was read, and the meter
    says something else there; BadValue when a transformer's ratio is zero, which would read every
    value as zero.
    """
    identity = layout.identity
    if identity is not None and identity.block in blocks:
        found = _at(layout, blocks, identity.block, identity.register, RegisterType.U16)
        if found != identity.value:
            raise WrongModel(
                f"the meter at this address says type {found}, {model} is type {identity.value}:"
                " wrong profile or wrong address",
                expected=identity.value,
                found=found,
            )
    for name, ratio in layout.ratios.by_name.items() if layout.ratios is not None else ():
        if ratio.block is None or ratio.block not in blocks:
            continue
        if _at(layout, blocks, ratio.block, ratio.register, ratio.type) <= 0:
            raise BadValue(f"the {name.upper()} ratio in register {ratio.register:#06x} is zero")


def _at(
    layout: ModbusMap, blocks: Mapping[str, bytes], name: str, register: int, kind: RegisterType
) -> int:
    start = next(block.address for block in layout.blocks if block.name == name)
    return read_int(blocks[name], at=register - start, kind=kind, order=layout.word_order)
