"""The driver of DL/T 645 meters, 2007 and 1997: what a profile says, done over an exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from backend.kernel.band_calendar import Calendar
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.profiles.dlt645_map import Dlt645Map, Item, MoneyItems, layout_of, unit_of
from workers.profiles.model import Profile
from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645_data import decode_values
from workers.protocols.dlt645_functions import Action
from workers.protocols.dlt645_values import decode_numbers
from workers.protocols.errors import BadValue, ShortAnswer
from workers.protocols.framing import Exchange

from . import dlt645_calendar, dlt645_clock, dlt645_settings
from .access import Access
from .bare import BareDriver
from .dlt645_esam import EsamPurse
from .dlt645_line import Dlt645Line
from .ports import MeterFlags, MeterSnapshot, Relay, Thresholds, Wallet

_ACTIONS = {
    "trip": Action.TRIP,
    "allow_close": Action.ALLOW_CLOSE,
    "close": Action.CLOSE,
    "keep_power": Action.KEEP_POWER,
    "release": Action.RELEASE_KEEP_POWER,
}
_MOST_FEN = 99_999_999  # XXXXXX.XX yuan: what the meter can show
_MOST_COUNT = 2**32 - 1


class Dlt645Driver(BareDriver):
    """A meter of `profile` at 12 digits `address`; what it can do is what its profile has.

    Raises InvalidInput for an address that more than one meter hears, and for another protocol.
    """

    def __init__(
        self, profile: Profile, address: str, exchange: Exchange, access: Access | None = None
    ) -> None:
        super().__init__(profile.model)
        if not isinstance(profile.map, Dlt645Map):
            raise InvalidInput(f"{profile.model} does not speak DL/T 645", field="profile")
        self._map = profile.map
        self._line = Dlt645Line(
            model=profile.model,
            layout=profile.map,
            address=address,
            exchange=exchange,
            access=access or Access(),
        )
        self._purse = EsamPurse(self._line)

    async def read(self) -> MeterSnapshot:
        """See CanRead.read: one exchange an item, and one more for each part of a long one."""
        found: dict[str, int | None] = {}
        raw: list[bytes] = []
        for item in self._map.items:
            read = self._line.read_if_any if item.optional else self._line.read
            data = await read(item.di)
            if data is not None:
                raw.append(data)
                found |= _numbers(item, data, self._map)
        total = found.get("total")
        if total is None:
            raise BadValue(f"meter {self._line.address} shows no total")
        relay, flags = await self._status(raw)
        remaining, count = await self._money(raw)
        clock = None
        if self._map.clock is not None:
            clock, read_bytes = await dlt645_clock.read_clock(self._line, self._map.clock)
            raw.append(read_bytes)
        arrears = remaining is not None and remaining <= Money(0)
        return MeterSnapshot(
            total=total,
            raw=b"".join(raw),
            bands={
                target.removeprefix("bands."): value
                for target, value in found.items()
                if target.startswith("bands.") and value is not None
            },
            remaining_hao=None if remaining is None else remaining.hao,
            purchase_count=count,
            relay=relay,
            flags=MeterFlags(arrears=arrears, **flags),
            voltage_mv=found.get("voltage_mv"),
            current_ma=found.get("current_ma"),
            power_w=found.get("power_w"),
            meter_clock=clock,
            cover_opens=found.get("cover_opens"),
        )

    async def wallet(self) -> Wallet:
        """See CanCredit.wallet. With a key machine one exchange (after the identity authentication
        that opens a driver's session) gives money and count together; the overdraft is asked when
        nothing remains. Without one the count is read before the money: a purchase in between
        shows as money too much, which stops a sale, never as one that is missing."""
        place = self._map.money
        if place is None or (place.purchase_count is None and self._map.credit is None):
            raise self._lacks("money of its own")
        if self._map.credit is not None:
            state = await self._purse.state()
            remaining, count = Money.of_fen(state.fen), state.count
            return Wallet(await self._less_overdraft(place, remaining, []), count)
        shown = await self._count(place, [])
        left = await self._remaining(place, [])
        if shown is None or left is None:
            raise BadValue(f"meter {self._line.address} shows no purchase count or no money")
        return Wallet(left, shown)

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """See CanCredit.credit. Raises CipherNotConfigured and CipherUnavailable too (nothing was sold)."""
        if self._map.credit is None:
            raise self._lacks("a way to be sold to")
        if amount.hao <= 0 or amount.hao % 100 or amount.fen > _MOST_FEN:
            raise InvalidInput("a sale is a whole number of fen above zero", field="amount")
        if not 0 < purchase_count <= _MOST_COUNT:
            raise InvalidInput(f"{purchase_count} is no purchase count", field="purchase_count")
        await self._purse.recharge(fen=amount.fen, count=purchase_count)

    async def trip(self, *, until: datetime | None = None) -> None:
        """See CanSwitch.trip."""
        await self._switch("trip")

    async def allow_close(self) -> None:
        """See CanSwitch.allow_close."""
        await self._switch("allow_close")

    async def close(self) -> None:
        """See CanSwitch.close."""
        await self._switch("close")

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power."""
        await self._switch("keep_power")

    async def release(self) -> None:
        """See CanSwitch.release: ends keep-power. A relay that was tripped is brought back by `close`
        or `allow_close`."""
        await self._switch("release")

    async def prices(self) -> Mapping[str, int]:
        """See CanPrice.prices: the set in force."""
        if self._map.prices is None:
            raise self._lacks("prices")
        return await dlt645_settings.read_prices(self._line, self._map.prices, self._map.rates)

    async def write_prices(self, prices: Mapping[str, int], /) -> None:
        """See CanPrice.write_prices and dlt645_settings.write_prices (when they hold)."""
        if self._map.prices is None:
            raise self._lacks("prices")
        place, rates = self._map.prices, self._map.rates
        await dlt645_settings.write_prices(self._line, place, rates, prices)

    async def thresholds(self) -> Thresholds:
        """See CanWarn.thresholds."""
        if self._map.thresholds is None:
            raise self._lacks("thresholds")
        return await dlt645_settings.read_thresholds(self._line, self._map.thresholds)

    async def write_thresholds(self, thresholds: Thresholds, /) -> None:
        """See CanWarn.write_thresholds."""
        if self._map.thresholds is None:
            raise self._lacks("thresholds")
        await dlt645_settings.write_thresholds(self._line, self._map.thresholds, thresholds)

    async def write_clock(self, now: datetime, /) -> None:
        """See CanKeepTime.write_clock and dlt645_clock.write_clock."""
        place = self._map.clock
        if place is None or place.level is None:
            raise self._lacks("a clock that can be set")
        await dlt645_clock.write_clock(self._line, place, now, level=place.level)

    async def calendar(self) -> Calendar:
        """See CanKeepTime.calendar: the day tables that its year zones name."""
        if self._map.calendar is None:
            raise self._lacks("a calendar")
        place, rates = self._map.calendar, self._map.rates
        return await dlt645_calendar.read_calendar(self._line, place, rates)

    async def write_calendar(self, calendar: Calendar, /) -> None:
        """See CanKeepTime.write_calendar."""
        if self._map.calendar is None:
            raise self._lacks("a calendar")
        place, rates = self._map.calendar, self._map.rates
        await dlt645_calendar.write_calendar(self._line, place, rates, calendar)

    async def _switch(self, state: str) -> None:
        switch = self._map.switch
        if switch is None or state not in switch.states:
            raise self._lacks(f"a way to {state.replace('_', ' ')}")
        access = self._line.access
        until = access.clock.now() + timedelta(minutes=switch.valid_minutes)
        question = requests.remote_control(
            address=self._line.address,
            action=_ACTIONS[state],
            valid_until=until.astimezone(CHINA),
            password=self._line.password(switch.level),
            operator=access.operator,
            channel=switch.channel,
            wake_up=self._map.wake_up,
        )
        await self._line.obeyed(question)

    async def _status(self, raw: list[bytes]) -> tuple[Relay, dict[str, bool]]:
        place = self._map.status
        if place is None:
            return Relay.UNKNOWN, {}
        read = self._line.read_if_any if place.optional else self._line.read
        data = await read(place.di)
        if data is None:
            return Relay.UNKNOWN, {}
        if len(data) != 2:
            raise ShortAnswer(f"{len(data)} data bytes, a status word has 2")
        raw.append(data)
        word = int.from_bytes(data, "little")
        relay = Relay.OPEN if word >> place.open_bit & 1 else Relay.CLOSED
        return relay, {name: bool(word >> bit & 1) for name, bit in place.flags.items()}

    async def _money(self, raw: list[bytes]) -> tuple[Money | None, int | None]:
        place = self._map.money
        if place is None:
            return None, None
        count = await self._count(place, raw)
        return await self._remaining(place, raw), count

    async def _remaining(self, place: MoneyItems, raw: list[bytes]) -> Money | None:
        shown = await self._shown(place.remaining, place.optional, raw)
        if shown is None:
            return None
        return await self._less_overdraft(place, Money.parse(shown), raw)

    async def _less_overdraft(self, place: MoneyItems, remaining: Money, raw: list[bytes]) -> Money:
        if remaining or place.overdraft is None:
            return remaining
        owed = await self._shown(place.overdraft, True, raw)
        return remaining if owed is None else remaining - Money.parse(owed)

    async def _count(self, place: MoneyItems, raw: list[bytes]) -> int | None:
        if place.purchase_count is None:
            return None
        shown = await self._shown(place.purchase_count, place.optional, raw)
        return None if shown is None else int(shown)

    async def _shown(self, di: str, optional: bool, raw: list[bytes]) -> str | None:
        data = await (self._line.read_if_any if optional else self._line.read)(di)
        if data is None:
            return None
        raw.append(data)
        return decode_values(data, di=di, edition=self._map.edition)[0].value


def _numbers(item: Item, data: bytes, layout: Dlt645Map) -> dict[str, int | None]:
    """What `item` gives, by target. A block may have more parts than are kept, or fewer rates."""
    what = layout_of(item.di, len(item.targets), item.format, layout.edition)
    assert what is not None  # dlt645_check refuses a profile with an unknown identifier
    values = decode_numbers(data, what=what, separators=layout.edition == "1997")
    pairs: Sequence[tuple[str, str | None]] = [
        (target, value.value) for target, value in zip(item.targets, values, strict=False)
    ]
    return {target: _whole(value, target) for target, value in pairs if target}


def _whole(value: str | None, target: str) -> int | None:
    """`value` in the whole units of `target`; what is finer (0.1 W) is rounded half up."""
    if value is None:
        return None
    scaled = Decimal(value) * unit_of(target)[1]
    return int(scaled.quantize(Decimal(1), rounding=ROUND_HALF_UP))
