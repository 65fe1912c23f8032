"""Money moved as floats."""

import asyncio
from pathlib import Path

HERE = Path(__file__).parent
RATE = 0.5  # BAD
CHANNEL_TIMEOUT_S = 2.5


def share(total_fen: int, count: int) -> int:
    """Cents vanish here."""
    return int(total_fen / count)  # BAD


def parse(text: str) -> float:  # BAD
    """A double holds no fen."""
    return float(text)  # BAD


def halve(amount: int) -> int:
    """In place, and still a double."""
    amount /= 2  # BAD
    return amount


def cast_by_name(value: "float") -> None:  # BAD
    """A quoted annotation is an annotation."""


def fine(total_fen: int, count: int, *, wait_s: float = 1.5) -> tuple[int, int]:
    """Whole division says who keeps the rest; seconds and paths are not money."""
    (HERE / "note.sql" / str(count)).touch()
    return divmod(total_fen, count)


async def waits() -> None:
    """A time-out is a time."""
    async with asyncio.timeout(0.5):
        await asyncio.sleep(0)


class Lane:
    """Times of a lane."""

    timeout_s: float = 1.5

    def latency_s(self) -> float:
        """Seconds, by its name."""
        return self.wait(timeout_s=0.5)

    def wait(self, **keys: object) -> object:
        """A share is no time, by keyword or by place."""
        self.wait(share=0.5)  # BAD
        return print(0.25)  # BAD


def more(total: int, name: str, base: Path) -> object:
    """Only `/` divides; a constructed path and a text on the right join."""
    total += 2
    total = total * 2 // 3
    total = total - 4 / 2  # BAD
    total = total * 4 / 2  # BAD
    return total, Path("notes") / name, base / "x.sql"
