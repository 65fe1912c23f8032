"""How much a virtual household draws: seeded, so that the same instant always gives the same power."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

SLOT_S = 900  # power and rate band are constant within a quarter of an hour
CHINA_OFFSET_S = 8 * 3600
_SPREAD = 101  # percent steps of the random part

BANDS = ("spike", "peak", "flat", "valley")
_SPIKE, _PEAK, _FLAT, _VALLEY = range(4)

# Rate band of each hour of the China day, a common shape of provincial tariffs.
_BAND_OF_HOUR = (
    *(_VALLEY,) * 7,
    *(_FLAT,) * 3,
    *(_PEAK,) * 2,
    *(_FLAT,) * 3,
    *(_PEAK,) * 4,
    *(_SPIKE,) * 2,
    *(_FLAT,) * 2,
    _VALLEY,
)
# Percent of the average power, by hour.
_NIGHT_AND_MORNING = (40, 35, 30, 30, 30, 40, 70, 110, 120, 110, 110, 130)
_AFTERNOON_AND_EVENING = (140, 120, 110, 110, 120, 130, 170, 190, 180, 150, 100, 60)
_SHAPE = (*_NIGHT_AND_MORNING, *_AFTERNOON_AND_EVENING)


@dataclass(frozen=True, slots=True)
class LoadModel:
    """`average_w` watts about a daily shape with a random part from `seed`."""

    seed: int
    average_w: int

    def power_w(self, slot: int) -> int:
        """Watts in slot number `slot` (unix seconds // SLOT_S)."""
        digest = blake2b(f"{self.seed}:{slot}".encode(), digest_size=4).digest()
        percent = 50 + int.from_bytes(digest, "big") % _SPREAD
        return self.average_w * _SHAPE[hour_of(slot)] * percent // 10_000


def hour_of(slot: int) -> int:
    """The hour of the China day in which `slot` lies."""
    return (slot * SLOT_S + CHINA_OFFSET_S) // 3600 % 24


def band_of(slot: int) -> int:
    """The index in BANDS of the rate band of `slot`."""
    return _BAND_OF_HOUR[hour_of(slot)]
