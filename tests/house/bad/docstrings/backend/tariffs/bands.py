# A comment is not a docstring.  # BAD
from typing import overload


class Band:  # BAD
    def price(self) -> int:  # BAD
        def inner() -> int:
            return 1

        return inner()

    def _private(self) -> int:
        return 1

    def __len__(self) -> int:
        return 1

    class Meta:
        table = "band"


class _Hidden:
    def price(self) -> int:
        return 1


async def load() -> None:  # BAD
    return None


@overload
def read(text: str) -> int: ...
@overload
def read(text: bytes) -> int: ...
def read(text: object) -> int:
    """The length in characters or bytes."""
    return 1
