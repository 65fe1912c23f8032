"""What must hold in a seed of the simulation: at every instant, and when all is at peace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backend.kernel.clock import business_day

from .book import HAO_PER_FEN, book_of_group, together
from .plan import OPENING_FEN
from .sim_channel import SimChannel
from .sim_office import Office
from .sim_outside import SimField, of_cloud
from .sim_stage import Stage
from .sim_world import OPENING_WH, PRICE_HAO, START, SimGroup
from .verdict import Sold, Witnesses

# What a person notes and nothing waits for: a gateway that was off for half an hour; a refund that the
# channel did not want, its money is in the purse again; a drawer a yuan wrong; an account that closed
# owing, or was paid for after it closed.
_EXPECTED = frozenset(
    {"VEND_DELAYED", "REFUND_FAILED", "CASH_DIFFERENCE", "CLOSED_OWING", "PAID_WITHOUT_METER"}
)
_QUIET = (
    "SELECT (SELECT count(*) FROM (SELECT entry_id FROM ledger_posting GROUP BY entry_id"
    "   HAVING sum(amount_hao) <> 0) e) AS unbalanced,"
    " coalesce(sum(p.amount_hao) FILTER (WHERE a.kind = 'CHANNEL' AND p.amount_hao > 0), 0)::bigint"
    "   AS channel,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE a.kind = 'CHANNEL' AND p.amount_hao < 0), 0)::bigint"
    "   AS back,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE a.kind = 'METER_WALLET'), 0)::bigint AS held,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE a.kind = 'IN_TRANSIT'), 0)::bigint AS sent,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE a.kind = 'ENERGY'), 0)::bigint AS charged"
    " FROM ledger_posting p JOIN ledger_account a"
    " ON a.group_id = p.group_id AND a.id = p.account_id"
    " WHERE a.kind IN ('CHANNEL', 'METER_WALLET', 'IN_TRANSIT', 'ENERGY')"
)
_BY_CHANNEL = (
    "SELECT a.ref, sum(p.amount_hao)::bigint AS hao FROM ledger_posting p JOIN ledger_account a"
    " ON a.group_id = p.group_id AND a.id = p.account_id WHERE a.kind = 'CHANNEL' GROUP BY a.ref"
)
_IN_DESKS = (
    "SELECT coalesce(sum(p.amount_hao), 0)::bigint FROM ledger_posting p JOIN ledger_account a"
    " ON a.group_id = p.group_id AND a.id = p.account_id"
    " WHERE a.kind IN ('CASH_DESK', 'CARD_SLIPS', 'CASH_SAFE', 'CASH_DIFFERENCE')"
)
_FETCHED = (
    "SELECT coalesce(sum(amount_fen), 0)::bigint FROM topups_refund"
    " WHERE state = 'DONE' AND credential_id IS NULL"
)
_OPEN_REFUNDS = "SELECT count(*) FROM topups_refund WHERE finished_at IS NULL"
_OPEN_TAKEDOWNS = "SELECT count(*) FROM metering_takedown WHERE state NOT IN ('DONE', 'CANCELLED')"
# A meter that hangs no more: what its wallet still says is nobody's money.
_TAKEN_DOWN = (
    "SELECT m.serial FROM metering_takedown t JOIN metering_meter m"
    " ON m.group_id = t.group_id AND m.id = t.meter_id WHERE t.state = 'DONE'"
)
# A meter whose opening money the book took over when it was hung by the product, or taken down.
_TAKEN_OVER = (
    "SELECT m.serial FROM ledger_entry e JOIN metering_assignment s"
    " ON s.group_id = e.group_id AND e.business_key = 'opening:' || s.id || ':at-meter'"
    " JOIN metering_meter m ON m.group_id = s.group_id AND m.id = s.meter_id"
)
_LEFT_IN_DRAWERS = (
    "SELECT count(*) FROM (SELECT a.ref FROM ledger_posting p JOIN ledger_account a"
    " ON a.group_id = p.group_id AND a.id = p.account_id JOIN topups_shift s"
    " ON s.group_id = a.group_id AND s.id = a.ref"
    " WHERE a.kind = 'CASH_DESK' AND s.closed_at IS NOT NULL"
    " GROUP BY a.ref HAVING sum(p.amount_hao) <> 0) left_over"
)
_MOVED_IN = (
    "SELECT count(*) FROM metering_takedown t JOIN accounts_account a"
    " ON a.group_id = t.group_id AND a.id = t.account_id"
    " WHERE t.purpose = 'MOVE' AND t.state = 'DONE' AND a.area_id <> t.to_area_id"
)
_OPEN_CLOSINGS = "SELECT count(*) FROM accounts_closing WHERE finished_at IS NULL"
_REGISTERS = (
    "SELECT m.serial, coalesce(s.closing_total, l.total) AS total, s.opening_total"
    " FROM metering_meter m"
    " JOIN metering_assignment s ON s.group_id = m.group_id AND s.meter_id = m.id"
    " JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " WHERE m.credit_mode = 'CLOUD'"
)


class Broken(AssertionError):
    """An invariant does not hold; the message says which, and after which step."""


class Truth:
    """Compares the book with what the channels, the desk and the meters know themselves."""

    def __init__(self, stage: Stage, field: SimField, office: Office) -> None:
        self._stage = stage
        self._field = field
        self._office = office

    async def holds(self, when: str) -> None:
        """At every instant: the book balances, holds no more than was paid, gave back no more than went
        back; meters took what it says that they hold and some of what is on its way to them; no more was
        charged than was used. Raises Broken."""
        for group in self._stage.groups:
            found = (await self._stage.rows(group, _QUIET))[0]
            paid, back = paid_of(group), back_of(group)
            grown, opened = await self._grown(group)
            sold = sum(grown.values()) + opened
            booked, booked_back = found["channel"] // HAO_PER_FEN, found["back"] // HAO_PER_FEN
            held, sent = found["held"] // HAO_PER_FEN, found["sent"] // HAO_PER_FEN
            if found["unbalanced"]:
                raise Broken(f"{when}: an entry does not sum to zero")
            if not booked <= sum(paid.values()):
                raise Broken(f"{when}: paid {sum(paid.values())}, booked {booked}")
            if not booked_back <= back:
                raise Broken(f"{when}: the channels gave back {back}, booked {booked_back}")
            if not held <= sold <= held + sent:
                raise Broken(f"{when}: meters took {sold}, the book: {held} and {sent} on its way")
            used = sum(self._used(group).values())
            if found["charged"] > used * PRICE_HAO // 1_000:
                raise Broken(f"{when}: {used} Wh were used, {found['charged']} hao charged")

    async def settled(self) -> bool:
        """Whether no refund, no closing and no takedown is under way."""
        for group in self._stage.groups:
            for asked in (_OPEN_REFUNDS, _OPEN_CLOSINGS, _OPEN_TAKEDOWNS):
                if await self._stage.value(group, asked):
                    return False
        return True

    async def in_the_end(self) -> None:
        """At peace, beside the verdict: nothing is under way; each channel's account, the desks' and the
        charges are to the hao what channels, desk and meters say. Raises Broken."""
        if not await self.settled():
            raise Broken("after peace: a refund, a closing or a takedown is stuck")
        for group in self._stage.groups:
            booked = {row["ref"]: row["hao"] for row in await self._stage.rows(group, _BY_CHANNEL)}
            for name, channel in group.channels.items():
                truth = _paid_fen(channel, self._stage) - _back_fen(channel)
                if booked.get(group.credentials[name], 0) != truth * HAO_PER_FEN:
                    raise Broken(f"after peace: {name} holds {truth} fen, the book differs")
            await self._charged_right(group)
            if await self._stage.value(group, _LEFT_IN_DRAWERS):
                raise Broken("after peace: money is left in a drawer that was counted and given on")
            if await self._stage.value(group, _MOVED_IN):
                raise Broken("after peace: a household moved, and its place did not change")
        desks = sum([await self._stage.value(each, _IN_DESKS) for each in self._stage.groups])
        fetched = sum([await self._stage.value(each, _FETCHED) for each in self._stage.groups])
        taken = sum(self._office.taken.values())
        if desks != (taken - fetched) * HAO_PER_FEN:
            raise Broken(f"after peace: desks took {taken} fen, gave {fetched}, book: {desks} hao")

    async def _charged_right(self, group: SimGroup) -> None:
        wanted, used = 0, self._used(group)
        for row in await self._stage.rows(group, _REGISTERS):
            wanted += (row["total"] - row["opening_total"]) * PRICE_HAO // 1_000
            if not row["total"] - OPENING_WH <= used[row["serial"]]:
                raise Broken("after peace: a register says more than was used")
        charged = (await self._stage.rows(group, _QUIET))[0]["charged"]
        if charged != wanted:
            raise Broken(f"after peace: {wanted} hao were used, {charged} hao charged")

    async def witnesses(self, *, believed: int) -> Witnesses:
        """What all who know say in the end, for the judge."""
        parts, paid, back, bill, opened = [], dict[str, int](), 0, 0, 0
        days = {business_day(START), business_day(self._stage.clock.now())}
        sold, grown = list[Sold](), dict[str, int]()
        for group in self._stage.groups:
            parts.append(await book_of_group(self._stage.witnesses[group.id]))
            paid |= paid_of(group)
            back += back_of(group)
            wallets, taken_over = await self._grown(group)
            grown |= wallets
            opened += taken_over
            for channel in group.channels.values():
                for day in days:
                    lines = await channel.bill(day)
                    bill += sum(line.amount_fen - line.refund_fen for line in lines)
        for meter in self._field.meters():
            sales = self._field.store.sales(meter.serial, limit=10_000)
            sold += [Sold(meter.serial, sale.purchase_count, sale.amount_fen) for sale in sales]
        book = together(parts)
        return Witnesses(
            paid=paid,
            refunded_fen=back,
            book=replace(book, cases={k: n for k, n in book.cases.items() if k not in _EXPECTED}),
            grown_fen=grown,
            opened_fen=opened,
            sold=sold,
            bill_fen=bill,
            believed=believed,
        )

    def _meters(self, group: SimGroup) -> list[Any]:
        return list(self._field.buses[group.address].meters.values())

    async def _grown(self, group: SimGroup) -> tuple[dict[str, int], int]:
        """By how much the wallet of each meter that hangs and holds money grew, in fen; and what the book
        took over of what they had held before."""
        down = {row["serial"] for row in await self._stage.rows(group, _TAKEN_DOWN)}
        over = {row["serial"] for row in await self._stage.rows(group, _TAKEN_OVER)} - down
        grown = {
            meter.serial: meter.state().remaining_fen - OPENING_FEN
            for meter in self._meters(group)
            if not of_cloud(meter.serial) and meter.serial not in down
        }
        return grown, OPENING_FEN * len(over)

    def _used(self, group: SimGroup) -> dict[str, int]:
        """What went through each cloud meter since it was hung, in Wh."""
        return {
            meter.serial: meter.state().shown_wh()[0] - OPENING_WH
            for meter in self._meters(group)
            if of_cloud(meter.serial)
        }


def paid_of(group: SimGroup) -> dict[str, int]:
    """Fen by order of what a group's channels took."""
    return {
        slip.number: slip.fen
        for channel in group.channels.values()
        for slip in channel.till.slips(START)
        if slip.paid
    }


def back_of(group: SimGroup) -> int:
    """Fen that a group's channels gave back."""
    return sum(_back_fen(channel) for channel in group.channels.values())


def _paid_fen(channel: SimChannel, stage: Stage) -> int:
    return sum(slip.fen for slip in channel.till.slips(stage.clock.now()) if slip.paid)


def _back_fen(channel: SimChannel) -> int:
    return sum(back.fen for back in channel.till.backs() if back.done)
