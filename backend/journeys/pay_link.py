"""What the holder of a pay link may do: pay for one account and follow that payment, nothing else.

Forwarded links may pay, not look: names and places are masked; usage, balance and who pays are never
told. A token is `<group code>.<random>`; a wrong, foreign or old one all get the same answer. Only the
customer for whom it was made, known by the sealed cookie and still bound, also sees the meters' states.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from backend.accounts import queries as accounts
from backend.accounts.rules import mask_place
from backend.control.state_rules import MeterState
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.ids import token as new_token
from backend.kernel.money import Money
from backend.kernel.secrets import digest
from backend.metering import queries as metering
from backend.metering.rules import MeterKind
from backend.tenancy import queries as tenancy
from backend.topups import queries as topups
from backend.topups.operations import create_link
from backend.topups.queries import Link
from backend.topups.rules import Channel, PayMethod, Way, browser_of, ways_to_offer

from .meter_states import meter_states
from .ports import Ports
from .topup import Payer, start
from .views import TopUpView, topup_views
from .visitor import visitor_openid

AMOUNTS = tuple(Money.of_fen(yuan * 100) for yuan in (20, 50, 100, 200))
_GONE = "this pay link is not valid any more"


@dataclass(frozen=True, slots=True)
class PayMeter:
    """A meter that can be paid for; of its serial the last four characters are told. `state`: None but for
    the customer himself."""

    id: UUID
    tail: str
    kind: MeterKind
    state: MeterState | None


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A pay link as its holder sees it. `amount` is what was asked for, if anything was. `meters`: those to
    choose from, the one that is paid for unasked first; just the one that the link was made for."""

    account_name: str
    place: str
    project_name: str
    amount: Money | None
    amounts: tuple[Money, ...]
    least: Money
    most: Money
    ways: tuple[Way, ...]
    meters: tuple[PayMeter, ...]


@dataclass(frozen=True, slots=True)
class Visitor:
    """The browser that holds a link: its sealed cookies (who it is inside WeChat, inside Alipay), its
    address and what it calls itself."""

    cookie: str | None
    client_ip: str
    user_agent: str = ""
    alipay_cookie: str | None = None


async def new_link(
    ports: Ports,
    *,
    group_id: int,
    customer_id: UUID,
    account_id: UUID,
    amount: Money | None,
    meter_id: UUID | None = None,
) -> str:
    """The address of a pay page for an account the customer is bound to; it lives seven days. `meter_id`:
    which of its meters is paid for, None: the first that holds money.

    Raises NotFound (not bound, or no such meter serves it), Conflict (selling to its meter is stopped).
    """
    async with unit_of_work(group_id) as work:
        if not await accounts.is_bound(work, customer_id=customer_id, account_id=account_id):
            raise NotFound("the account is not bound")
        assignment = await metering.live_assignment_of_account(
            work, account_id=account_id, meter_id=meter_id
        )
        if assignment is None:
            raise NotFound("no meter serves this account yet")
        meter = await metering.meter_by_id(work, meter_id=assignment.meter_id)
        if meter.selling_stopped_at is not None:
            raise Conflict("selling to this meter is stopped until the manager has checked it")
        code, _ = await tenancy.group_name(work)
        link = f"{code}.{new_token()}"
        await create_link(
            work,
            token_digest=digest(link),
            account_id=account_id,
            customer_id=customer_id,
            amount_fen=amount.fen if amount else None,
            at=ports.clock.now(),
            meter_id=meter_id,
        )
    return f"{ports.public_url}/p/{link}"


async def open_link(ports: Ports, *, token: str, visitor: Visitor) -> OpenedLink:
    """What a link pays for, masked, and how this visitor can pay. Raises NotFound."""
    group_id = await group_of_token(token)
    async with unit_of_work(group_id) as work:
        link = await _link(work, ports, token)
        account = await accounts.account_by_id(work, account_id=link.account_id)
        if account.closed_at is not None:
            raise NotFound(_GONE)
        project = await tenancy.project_by_id(work, project_id=account.project_id)
        places = await accounts.area_paths(work, area_ids=[account.area_id])
        kinds = await tenancy.merchant_kinds(work, project_id=project.id)
        meters = [
            meter
            for meter in await metering.sold_meters(work, account_id=account.id)
            if link.meter_id in (None, meter.id)
        ]
        states = {}
        if await _is_customer(work, ports, visitor, link):
            states = await meter_states(work, meter_ids=[meter.id for meter in meters])
        known = await _known(work, ports, visitor, project.id, kinds)
    least, most = Money.of_fen(project.topup_min_fen), Money.of_fen(project.topup_max_fen)
    return OpenedLink(
        account_name=mask_place(account.name),
        place=mask_place(places[account.area_id]),
        project_name=project.name,
        amount=None if link.amount_fen is None else Money.of_fen(link.amount_fen),
        amounts=tuple(amount for amount in AMOUNTS if least <= amount <= most),
        least=least,
        most=most,
        ways=ways_to_offer(
            browser_of(visitor.user_agent),
            channels=[Channel(kind) for kind in kinds],
            known=known,
        ),
        meters=tuple(
            PayMeter(meter.id, meter.serial[-4:], meter.kind, states.get(meter.id))
            for meter in meters
        ),
    )


async def start_by_link(
    ports: Ports,
    *,
    token: str,
    amount: Money,
    way: Way,
    visitor: Visitor,
    idempotency_key: str,
    meter_id: UUID | None = None,
) -> TopUpView:
    """Start a top-up of the link's account, for one of its meters (None: the link's own, else the first that
    holds money). Raises what `topup.start` raises, and NotFound.

    Who pays inside an app is read from the sealed cookie, never from what the caller says.
    """
    if not 8 <= len(idempotency_key) <= 255:
        raise InvalidInput("an idempotency key has 8 to 255 characters", field="idempotencyKey")
    if amount.hao % 100:
        raise InvalidInput("a payment is a whole number of fen", field="amount")
    group_id = await group_of_token(token)
    openid = None
    async with unit_of_work(group_id) as work:
        link = await _link(work, ports, token)
        if link.meter_id is not None and meter_id not in (None, link.meter_id):
            raise Conflict("this link pays for another meter")
        if way.method is PayMethod.JSAPI:
            account = await accounts.account_by_id(work, account_id=link.account_id)
            known = await _known(work, ports, visitor, account.project_id, [way.channel])
            openid = known.get(way.channel)
            if openid is None:
                raise InvalidInput("open this page inside the app to pay there", field="method")
    order = await start(
        ports,
        group_id=group_id,
        account_id=link.account_id,
        customer_id=link.customer_id,
        amount_fen=amount.fen,
        payer=Payer(way, openid, visitor.client_ip, f"{ports.public_url}/p/{token}?back=1"),
        idempotency_key=idempotency_key,
        meter_id=meter_id or link.meter_id,
    )
    async with unit_of_work(group_id) as work:
        return (await topup_views(work, orders=[order]))[0]


async def topup_of_link(ports: Ports, *, token: str, order_id: UUID) -> TopUpView:
    """A top-up of the link's account, authorised anew at every call. Raises NotFound."""
    group_id = await group_of_token(token)
    async with unit_of_work(group_id) as work:
        link = await _link(work, ports, token)
        order = await topups.order_by_id(work, order_id=order_id)
        if order is None or order.account_id != link.account_id:
            raise NotFound("no such top-up")
        return (await topup_views(work, orders=[order]))[0]


async def group_of_token(token: str) -> int:
    """The group a pay link's token names. Raises NotFound."""
    code, dot, _ = token.partition(".")
    group_id = await tenancy.group_of_code(code) if dot else None
    if group_id is None:
        raise NotFound(_GONE)
    return group_id


async def _link(work: UnitOfWork, ports: Ports, token: str) -> Link:
    link = await topups.link_by_digest(work, token_digest=digest(token), at=ports.clock.now())
    if link is None:
        raise NotFound(_GONE)
    return link


async def alipay_app(ports: Ports, *, token: str) -> tenancy.Credential | None:
    """The Alipay account that the link's project collects by; None without one, or for a link that is not
    good (any more)."""
    try:
        async with unit_of_work(await group_of_token(token)) as work:
            link = await _link(work, ports, token)
            account = await accounts.account_by_id(work, account_id=link.account_id)
            return await tenancy.credential(
                work, box=ports.box, kind=Channel.ALIPAY, project_id=account.project_id
            )
    except NotFound:
        return None


async def _is_customer(work: UnitOfWork, ports: Ports, visitor: Visitor, link: Link) -> bool:
    openid = visitor_openid(ports.box, group_id=work.group_id, cookie=visitor.cookie)
    if openid is None:
        return False
    made_for = await accounts.customer(work, customer_id=link.customer_id)
    if (made_for.channel, made_for.external_id) != ("WECHAT", openid):
        return False
    return await accounts.is_bound(work, customer_id=link.customer_id, account_id=link.account_id)


async def _known(
    work: UnitOfWork, ports: Ports, visitor: Visitor, project_id: UUID, kinds: Collection[str]
) -> dict[Channel, str]:
    """Who the visitor is inside the apps of these channels, by the sealed cookies."""
    found: dict[Channel, str | None] = {}
    if Channel.WECHAT_PAY in kinds:
        found[Channel.WECHAT_PAY] = visitor_openid(
            ports.box, group_id=work.group_id, cookie=visitor.cookie
        )
    if Channel.ALIPAY in kinds and visitor.alipay_cookie:
        credential = await tenancy.credential(
            work, box=ports.box, kind=Channel.ALIPAY, project_id=project_id
        )
        found[Channel.ALIPAY] = visitor_openid(
            ports.box,
            group_id=work.group_id,
            cookie=visitor.alipay_cookie,
            app_id=credential.public["app_id"],
        )
    return {channel: openid for channel, openid in found.items() if openid is not None}
