"""Webhooks: where a project's own system hears the news of its customers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from backend.alerts import webhooks
from backend.journeys import message_desk
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import uuid_of


@strawberry.type(description="Where a project's own system hears the same news, signed.")
class Webhook:
    """A receiver, without its secret."""

    url: str
    set_by: str
    set_at: datetime
    taken_at: datetime | None = strawberry.field(description="When it last answered well.")
    last_error: str | None = strawberry.field(description="Why it did not since.")


WebhookResult = Annotated[Webhook | AnyProblem, strawberry.union("WebhookResult")]


def _webhook_of(row: webhooks.Webhook) -> Webhook:
    return Webhook(
        url=row.url,
        set_by=row.set_by,
        set_at=row.set_at,
        taken_at=row.taken_at,
        last_error=row.last_error,
    )


@strawberry.type
class WebhookQueries:
    """Reads."""

    @field(description="The project's webhook, null when it has none.")
    async def webhook(self, info: Info, project: strawberry.ID) -> Webhook | None:
        """Raises NotFound."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            row = await webhooks.webhook(work, scope=scope, project_id=project_id)
        return None if row is None else _webhook_of(row)


@strawberry.type
class WebhookMutations:
    """Writes."""

    @mutation(Permission.MESSAGE_WRITE)
    async def set_webhook(
        self, info: Info, project: strawberry.ID, url: str, secret: str
    ) -> WebhookResult:
        """Each news is posted as JSON, signed: X-Shuidian-Signature is `sha256=` and the hex HMAC-SHA256
        of X-Shuidian-Timestamp, a dot and the body. Any 2xx takes it; else it comes again."""
        row = await message_desk.put_webhook(
            info.context.ports,
            scope=info.context.caller(),
            project_id=uuid_of(project, "Project"),
            url=url,
            secret=secret,
        )
        return _webhook_of(row)

    @mutation(Permission.MESSAGE_WRITE)
    async def remove_webhook(self, info: Info, project: strawberry.ID) -> WebhookResult:
        """What waits for it is dropped."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        async with info.context.work() as work:
            row = await webhooks.remove_webhook(
                work, scope=scope, project_id=project_id, at=info.context.now
            )
        return _webhook_of(row)
