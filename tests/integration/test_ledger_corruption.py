"""Raw SQL that would corrupt the book is refused by the database itself (C1, C4)."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import Money

from .catalogue import Connection
from .filled import put_money
from .test_ledger import expect_kept_is_derived, lots_left
from .world import World, make_project, new_id

_ENTRY = (
    "INSERT INTO ledger_entry (group_id, id, project_id, business_key, kind, lines, occurred_at)"
    " VALUES ($1, $2, $3, $4, 'TEST', $5, now())"
)
_POSTINGS = (
    "INSERT INTO ledger_posting (group_id, entry_id, line, project_id, account_id, amount_hao)"
    " SELECT $1, $2, * FROM unnest($3::smallint[], $4::uuid[], $5::uuid[], $6::bigint[])"
)


class Corruption:
    """Raw SQL in one unit of work of a world that holds 20 yuan in one lot."""

    def __init__(self, work: UnitOfWork, world: World, other: World) -> None:
        self.work, self.world, self.other = work, world, other

    async def accounts(self) -> tuple[UUID, UUID]:
        """Ledger accounts of the purse and of the channel."""
        rows = await self.work.fetch("SELECT id FROM ledger_account ORDER BY kind DESC")
        return rows[0]["id"], rows[1]["id"]

    async def entry(self, *amounts: int, lines: int = 2) -> UUID:
        """An entry that declares `lines` and holds a posting for each amount, purse first."""
        entry_id, sides = new_id(), await self.accounts()
        await self.head(entry_id, lines)
        if amounts:
            placed = [(sides[line % 2], amount) for line, amount in enumerate(amounts)]
            await self.postings(entry_id, placed)
        return entry_id

    async def head(self, entry_id: UUID, lines: int) -> None:
        """An entry that declares `lines`, without any."""
        await self.work.execute(
            _ENTRY, self.world.group_id, entry_id, self.world.project.id, str(entry_id), lines
        )

    async def postings(
        self, entry: UUID, placed: list[tuple[UUID, int]], *, first: int = 0, project: int = -1
    ) -> None:
        """Postings by one statement; the one numbered `project` is said to be of the other project."""
        await self.work.execute(
            _POSTINGS,
            self.world.group_id,
            entry,
            [first + line for line in range(len(placed))],
            [(self.other if n == project else self.world).project.id for n in range(len(placed))],
            [account for account, _ in placed],
            [amount for _, amount in placed],
        )

    async def unbalanced(self) -> None:
        await self.entry(-500, 499)

    async def single_posting(self) -> None:
        await self.entry(500, lines=2)

    async def no_posting(self) -> None:
        await self.entry()

    async def one_line_entry(self) -> None:
        await self.entry(lines=1)

    async def entry_of_no_project(self) -> None:
        """Nor can postings make it one: they are on accounts of its project, and it has none."""
        entry, nowhere = new_id(), new_id()
        await self.work.execute(_ENTRY, self.world.group_id, entry, nowhere, "nowhere", 2)
        lines = [(line, account) for line, account in enumerate(await self.accounts())]
        await self.work.execute(
            _POSTINGS,
            self.world.group_id,
            entry,
            [line for line, _ in lines],
            [nowhere for _ in lines],
            [account for _, account in lines],
            [-500, 500],
        )

    async def bare_entry_of_no_project(self) -> None:
        await self.work.execute(_ENTRY, self.world.group_id, new_id(), new_id(), "nowhere", 2)

    async def zero_posting(self) -> None:
        await self.entry(0, 0)

    async def late_balanced_lines(self) -> None:
        entry: UUID = await self.work.fetchval("SELECT id FROM ledger_entry")
        purse, channel = await self.accounts()
        await self.postings(entry, [(purse, -100), (channel, 100)], first=8)

    async def balanced_lines_by_and_by(self) -> None:
        entry = await self.entry(500, -500, lines=4)
        purse, channel = await self.accounts()
        await self.postings(entry, [(purse, -100), (channel, 100)], first=8)

    async def late_single_line(self) -> None:
        entry: UUID = await self.work.fetchval("SELECT id FROM ledger_entry")
        await self.postings(entry, [((await self.accounts())[0], -100)], first=8)

    async def posting_of_no_entry(self) -> None:
        purse, channel = await self.accounts()
        await self.postings(new_id(), [(purse, -100), (channel, 100)])

    async def posting_on_no_account(self) -> None:
        entry, (purse, _channel) = new_id(), await self.accounts()
        await self.head(entry, 2)
        await self.postings(entry, [(purse, -100), (new_id(), 100)])

    async def cross_project_account(self) -> None:
        entry, foreign = new_id(), await self.foreign("CHANNEL")
        await self.head(entry, 2)
        await self.postings(entry, [((await self.accounts())[0], -500), (foreign, 500)])

    async def foreign(self, kind: str) -> UUID:
        """A ledger account of the other project."""
        made = new_id()
        await self.work.execute(
            "INSERT INTO ledger_account (group_id, id, project_id, kind, ref)"
            " VALUES ($1, $2, $3, $4, $5)",
            self.world.group_id,
            made,
            self.other.project.id,
            kind,
            self.other.account.id,
        )
        return made

    async def cross_project_purse(self) -> None:
        entry, foreign = new_id(), await self.foreign("PURSE")
        await self.head(entry, 2)
        await self.postings(entry, [(foreign, -500), ((await self.accounts())[1], 500)])

    async def purse_posted_on_by_both_projects(self) -> None:
        """By one statement, of two entries; what one of them says of the purse is right."""
        purse, channel = await self.accounts()
        foreign, ours, theirs = await self.foreign("CHANNEL"), new_id(), new_id()
        lines = []
        for entry, project, other in (
            (ours, self.world.project.id, channel),
            (theirs, self.other.project.id, foreign),
        ):
            await self.work.execute(_ENTRY, self.world.group_id, entry, project, str(entry), 2)
            lines += [(entry, 1, project, purse, -500), (entry, 2, project, other, 500)]
        await self.work.execute(
            "INSERT INTO ledger_posting (group_id, entry_id, line, project_id, account_id, amount_hao)"
            " SELECT $1, * FROM unnest($2::uuid[], $3::smallint[], $4::uuid[], $5::uuid[], $6::bigint[])",
            self.world.group_id,
            *zip(*lines, strict=True),
        )

    async def cross_project_posting(self) -> None:
        entry, (purse, channel) = new_id(), await self.accounts()
        await self.head(entry, 2)
        await self.postings(entry, [(purse, -500), (channel, 500)], project=1)

    async def edited_balance(self) -> None:
        await self.work.execute("UPDATE ledger_balance SET balance_hao = balance_hao * 2")

    async def invented_balance(self) -> None:
        await self.work.execute("INSERT INTO ledger_balance SELECT * FROM ledger_balance")

    async def purse_turned_over(self) -> None:
        await self.entry(200_001, -200_001)

    async def same_business_key(self) -> None:
        key = await self.work.fetchval("SELECT business_key FROM ledger_entry")
        await self.work.execute(
            _ENTRY, self.world.group_id, new_id(), self.world.project.id, key, 2
        )

    async def edited_amount(self) -> None:
        await self.work.execute("UPDATE ledger_posting SET amount_hao = amount_hao * 2")

    async def edited_entry(self) -> None:
        await self.work.execute("UPDATE ledger_entry SET occurred_at = now()")

    async def deleted_posting(self) -> None:
        await self.work.execute("DELETE FROM ledger_posting")

    async def deleted_entry(self) -> None:
        await self.work.execute("DELETE FROM ledger_entry")

    async def grown_lot(self) -> None:
        await self.work.execute("UPDATE ledger_lot SET amount_hao = amount_hao * 2")

    async def forgotten_use(self) -> None:
        await self.work.execute("DELETE FROM ledger_lot_use")

    async def overdrawn_lot(self) -> None:
        entry = await self.entry(500, -500)
        await self.work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " SELECT group_id, id, $1, amount_hao + 1 FROM ledger_lot",
            entry,
        )

    async def use_of_no_lot(self) -> None:
        entry = await self.entry(500, -500)
        await self.work.execute(
            "INSERT INTO ledger_lot_use VALUES ($1, $2, $3, 5)",
            self.world.group_id,
            new_id(),
            entry,
        )

    async def use_by_no_entry(self) -> None:
        await self.work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " SELECT group_id, id, $1, 5 FROM ledger_lot",
            new_id(),
        )

    async def use_of_a_lot_and_of_none(self) -> None:
        """By one statement: what is there does not stand in for what is not."""
        entry = await self.entry(500, -500)
        await self.work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " SELECT group_id, unnest(ARRAY[id, $2]), $1, 5 FROM ledger_lot",
            entry,
            new_id(),
        )

    async def returned_more_than_used(self) -> None:
        entry = await self.entry(500, -500)
        await self.work.execute(
            "INSERT INTO ledger_lot_return SELECT group_id, id, $1, 1 FROM ledger_lot", entry
        )

    async def unused_lot(self) -> None:
        await self.work.execute("UPDATE ledger_lot SET used_hao = 0")

    async def negative_use(self) -> None:
        entry = await self.entry(500, -500)
        await self.work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " SELECT group_id, id, $1, -1 FROM ledger_lot",
            entry,
        )

    async def emptied_book(self) -> None:
        await self.work.execute("TRUNCATE ledger_posting, ledger_entry CASCADE")


_CORRUPTIONS = [
    name
    for name in vars(Corruption)
    if name not in ("accounts", "entry", "head", "postings", "foreign") and name[0] != "_"
]


@pytest.mark.parametrize("name", _CORRUPTIONS)
async def test_raw_sql_that_corrupts_the_book_is_refused(
    worlds: tuple[World, World], name: str
) -> None:
    ours, _theirs = worlds
    other = await make_project(ours)
    await put_money(ours, yuan="20")
    before = await _book(ours)
    with pytest.raises(
        (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)
    ):
        async with unit_of_work(ours.group_id) as work:
            await getattr(Corruption(work, ours, other), name)()
    assert await _book(ours) == before
    await expect_kept_is_derived(ours)


async def test_raw_sql_that_keeps_the_rules_is_not_refused(worlds: tuple[World, World]) -> None:
    """The positive control of the corruptions above."""
    ours, _theirs = worlds
    other = await make_project(ours)
    await put_money(ours, yuan="20")
    async with unit_of_work(ours.group_id) as work:
        good = Corruption(work, ours, other)
        await good.entry(500, -500)
        await good.entry(500, -300, -100, -100, lines=4)
    assert len(_CORRUPTIONS) >= 12
    assert len(await _book(ours)) == 8


@pytest.mark.parametrize("table", ["ledger_entry", "ledger_posting"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET group_id = group_id", "DELETE FROM {}"])
async def test_the_owner_of_the_tables_cannot_edit_the_book_either(
    worlds: tuple[World, World], owner: Connection, table: str, statement: str
) -> None:
    ours, _theirs = worlds
    await put_money(ours, yuan="20")
    before = await _book(ours)
    await owner.execute("SELECT set_config('app.group_id', $1, false)", str(ours.group_id))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement.format(table))
    await owner.execute("RESET app.group_id")
    await owner.execute(statement.format(table))  # without a group it reaches no row at all
    assert await _book(ours) == before


async def test_two_that_draw_one_lot_at_once_cannot_both_have_it(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    """The lot holds by itself, with no balance row in between: the second waits for the first."""
    ours, _theirs = worlds
    await put_money(ours, yuan="20")
    drawn, go = asyncio.Event(), asyncio.Event()
    async with unit_of_work(ours.group_id) as work:
        book = Corruption(work, ours, ours)
        entries = [await book.entry(500, -500), await book.entry(500, -500)]

    async def draw(entry: UUID, *, first: bool) -> None:
        async with unit_of_work(ours.group_id) as work:
            await work.execute(
                "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
                " SELECT group_id, id, $1, 150000 FROM ledger_lot",
                entry,
            )
            if first:
                drawn.set()
                await go.wait()

    one = asyncio.create_task(draw(entries[0], first=True))
    async with asyncio.timeout(10):
        await drawn.wait()
        two = asyncio.create_task(draw(entries[1], first=False))
        waits = 0
        while not (two.done() or waits):
            waits = await superuser.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND locktype IN ('transactionid', 'tuple')"
            )
        go.set()
        await one
        with pytest.raises(asyncpg.CheckViolationError, match="ledger_lot_not_overdrawn"):
            await two
    assert await lots_left(ours) == [Money.parse("5")]


async def _book(world: World) -> list[tuple[object, ...]]:
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch("SELECT * FROM ledger_posting ORDER BY entry_id, line")
    return [tuple(row) for row in rows]
