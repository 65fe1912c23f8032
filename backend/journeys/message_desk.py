"""What an operator does about messages where rooms meet: an account's news, a webhook, an Alipay user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts.identities import bind_alipay_user
from backend.accounts.models import Customer
from backend.accounts.queries import account as account_of
from backend.alerts import messages, terms, webhooks
from backend.alerts.message_rules import MessageTerms
from backend.alerts.messages import Delivery, Message
from backend.alerts.webhooks import Webhook
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .ports import Ports
from .receipts import receipt_address

_APP_ID = re.compile(r"\d{16}")
_USER_ID = re.compile(r"[0-9A-Za-z_-]{8,128}")


@dataclass(frozen=True, slots=True)
class AlipayUser:
    """A user of an Alipay app; `same_as`: the openid of the WeChat customer who is the same person."""

    app_id: str
    user_id: str
    same_as: str | None


async def messages_of_account(
    work: UnitOfWork, *, scope: Scope, account_id: UUID, before: UUID | None, limit: int
) -> list[tuple[Message, list[Delivery]]]:
    """News of an account, newest first (keyset). Raises NotFound."""
    account = await account_of(work, scope=scope, account_id=account_id)
    return await messages.messages_page(
        work,
        scope=scope,
        project_id=account.project_id,
        account_id=account.id,
        before=before,
        limit=limit,
    )


async def terms_for(work: UnitOfWork, *, scope: Scope) -> MessageTerms:
    """The group's terms, for an operator. Raises Forbidden."""
    scope.require(Permission.MESSAGE_READ)
    return await terms.message_terms(work)


def receipt_url(ports: Ports, *, scope: Scope) -> str | None:
    """Where receipts come in; None for who may not write the group's credentials: it is a secret."""
    if not scope.may(Permission.CREDENTIAL_WRITE, None):
        return None
    return receipt_address(ports, group_id=scope.group_id)


async def put_webhook(
    ports: Ports, *, scope: Scope, project_id: UUID, url: str, secret: str
) -> Webhook:
    """Keep a project's receiver, its secret sealed. Raises NotFound, Forbidden, InvalidInput."""
    async with unit_of_work(scope.group_id) as work:
        return await webhooks.set_webhook(
            work,
            scope=scope,
            box=ports.box,
            project_id=project_id,
            url=url,
            secret=secret,
            local=ports.local,
            at=ports.clock.now(),
        )


async def bind_alipay(
    *, scope: Scope, account_id: UUID, user: AlipayUser, at: datetime
) -> Customer:
    """Bind an Alipay user to an account. Raises NotFound, Forbidden, InvalidInput."""
    if not _APP_ID.fullmatch(user.app_id):
        raise InvalidInput("an Alipay app's id has 16 digits", field="appId")
    if not _USER_ID.fullmatch(user.user_id):
        raise InvalidInput("this is no id of an Alipay user", field="userId")
    async with unit_of_work(scope.group_id) as work:
        account = await account_of(work, scope=scope, account_id=account_id)
        return await bind_alipay_user(
            work,
            scope=scope,
            account=account,
            app_id=user.app_id,
            user_id=user.user_id,
            same_as=user.same_as,
            at=at,
        )
