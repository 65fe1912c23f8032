"""What doors of messages meet in one project: a webhook."""

from __future__ import annotations

from backend.journeys.message_desk import put_webhook

from ..world import World


async def make_message_things(world: World) -> None:
    """The project's own system hears its news."""
    await put_webhook(
        world.ports,
        scope=world.scope,
        project_id=world.project.id,
        url="https://a.example/news",
        secret="a secret of sixteen",
    )
