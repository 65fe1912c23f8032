"""A day's bill that differs from the book, a night's proof and a day's signed statement."""

from __future__ import annotations

from backend.journeys.daily_statement import make_statements
from backend.journeys.prove_meters import prove_project

from .billed import DAY, make_books, today_of
from .world import BOX, START, World


async def fill_books(world: World) -> None:
    """Compare a bill in which nothing stands with what was paid, prove the meters, sign a day."""
    books = await make_books(world)
    order = await books.order(fen=1234)
    books.publish(books.line(order, order_no="UNKNOWN0001", transaction_id="4200unknown"))
    await books.compare()
    world.clock.instant = START
    group_id, project_id = world.group_id, world.project.id
    await prove_project(group_id=group_id, project_id=project_id, day=DAY, at=START)
    until = await today_of(world)
    await make_statements(box=BOX, group_id=group_id, project_id=project_id, until=until, at=START)
