"""The top-up's way in: order first, channel second, and one settle for notice, query and bill (C5).

No network inside a transaction: the order is committed before the channel is called, and its page
is stored by a second short commit.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.metrics import TOPUPS
from backend.metering import queries as metering
from backend.metering.rules import CreditMode
from backend.outbox.operations import emit
from backend.tenancy import queries as tenancy
from backend.topups import operations
from backend.topups import queries as topups
from backend.topups.ports import ChannelRefused, ChannelUnavailable, PrepayRequest
from backend.topups.queries import Order
from backend.topups.rules import OrderState, PayMethod, Way, check_amount, next_query

from .ports import Ports

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays and how: `payer_id` for paying inside the channel's app (an openid), `client_ip` of
    the payer's own device, `return_url` where the channel's page sends the payer afterwards."""

    way: Way
    payer_id: str | None
    client_ip: str
    return_url: str = ""


async def start(
    ports: Ports,
    *,
    group_id: int,
    account_id: UUID,
    customer_id: UUID | None,
    amount_fen: int,
    payer: Payer,
    idempotency_key: str,
    meter_id: UUID | None = None,
) -> Order:
    """Create an order and register it at the channel; the order holds what the page needs. `meter_id`:
    which of the account's meters gets the money, None: the first that holds money.

    A repeat with the same key, or an unpaid order of the same account, amount, way and payer, answers
    the same order. Raises InvalidInput (amount, way), Conflict (selling is stopped, no meter, key
    reused), NotFound (the project has no account at the channel), ChannelUnavailable (the order stays
    and a repeat goes on with it).
    """
    at = ports.clock.now()
    if payer.way.method is PayMethod.COUNTER:
        raise InvalidInput("a page cannot pay at a cash desk", field="method")
    async with unit_of_work(group_id) as work:
        order, project_name = await _order(
            work,
            account_id=account_id,
            customer_id=customer_id,
            amount_fen=amount_fen,
            payer=payer,
            idempotency_key=idempotency_key,
            meter_id=meter_id,
            ports=ports,
            at=at,
        )
        assert order.credential_id is not None, "an order of a page has a merchant account"
        credential = await tenancy.credential_by_id(
            work, box=ports.box, credential_id=order.credential_id
        )
    if order.page is not None or order.state is not OrderState.CREATED:
        return order
    request = PrepayRequest(
        order_no=order.order_no,
        amount_fen=order.amount_fen,
        description=f"{project_name} 预付费充值",
        expires_at=order.expires_at,
        method=order.method,
        payer_id=order.payer_id,
        client_ip=payer.client_ip,
        return_url=payer.return_url,
    )
    try:
        prepaid = await ports.payment_channel(group_id, credential).prepay(request)
    except (ChannelUnavailable, ChannelRefused) as error:
        # The channel's own words are for the operator's log, not for the payer's page.
        fields = {"order": order.order_no, "code": error.code, "reason": error.message}
        log.warning("prepay failed", extra={"fields": fields})
        raise ChannelUnavailable("the payment channel does not take this order now") from error
    TOPUPS.labels(step="prepaid").inc()
    async with unit_of_work(group_id) as work:
        await operations.store_page(work, order_id=order.id, page=prepaid.page)
        stored = await topups.order_by_id(work, order_id=order.id)
    assert stored is not None
    return stored


async def _order(
    work: UnitOfWork,
    *,
    account_id: UUID,
    customer_id: UUID | None,
    amount_fen: int,
    payer: Payer,
    idempotency_key: str,
    meter_id: UUID | None,
    ports: Ports,
    at: datetime,
) -> tuple[Order, str]:
    account = await accounts.account_by_id(work, account_id=account_id)
    project = await tenancy.project_by_id(work, project_id=account.project_id)
    if account.closed_at is not None:
        raise Conflict("the account is closed")
    if account.closing_at is not None:
        raise Conflict("the account is being closed")
    check_amount(
        amount_fen=amount_fen, min_fen=project.topup_min_fen, max_fen=project.topup_max_fen
    )
    assignment = await metering.live_assignment_of_account(
        work, account_id=account_id, meter_id=meter_id
    )
    if assignment is None:
        raise Conflict("no such meter that is sold to serves this account now")
    meter = await metering.meter_by_id(work, meter_id=assignment.meter_id)
    if meter.credit_mode == CreditMode.NONE:
        raise Conflict("this meter is not sold to")
    if meter.selling_stopped_at is not None:
        raise Conflict("selling to this meter is stopped until the manager has checked it")
    alike = await topups.live_order(
        work,
        account_id=account_id,
        amount_fen=amount_fen,
        way=payer.way,
        payer_id=payer.payer_id,
        at=at,
    )
    if alike is not None and alike.assignment_id == assignment.id:
        return alike, project.name
    credential = await tenancy.credential(
        work, box=ports.box, kind=payer.way.channel, project_id=project.id
    )
    order, new = await operations.create_order(
        work,
        project_id=project.id,
        account_id=account_id,
        assignment_id=assignment.id,
        customer_id=customer_id,
        credential_id=credential.id,
        way=payer.way,
        payer_id=payer.payer_id,
        amount_fen=amount_fen,
        idempotency_key=idempotency_key,
        at=at,
    )
    if new:
        TOPUPS.labels(step="created").inc()
        await emit(
            work,
            topic="topup.query",
            key=str(order.id),
            payload={"order_id": str(order.id)},
            at=at,
            due_at=next_query(created_at=order.created_at, at=order.created_at),
        )
    return order, project.name
