"""Messages (消息): templates, what a customer would get, what was told and how it went, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.alerts import templates, terms
from backend.alerts.message_rules import MessageTerms as Terms
from backend.alerts.message_rules import QuietHours, SmsLimits
from backend.alerts.messages import Delivery as Try
from backend.alerts.messages import Message as Told
from backend.alerts.ports import MessageChannel
from backend.alerts.template_rules import MessageTemplate as Template
from backend.alerts.texts import text
from backend.journeys import message_desk
from backend.journeys.message_preview import Preview, Step, preview
from backend.kernel.errors import InvalidInput
from backend.tenancy.rules import Permission

from .audit import KeyValue, pairs
from .context import Info
from .paging import Connection, page_by_key, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import clock_of, minute_of, uuid_of

strawberry.enum(
    MessageChannel,
    description="By what a message travels, in the order in which a person is tried.",
)


@strawberry.type(description="A template as a provider approved it, for one event at one channel.")
class MessageTemplate:
    """消息模板."""

    event: str
    channel: MessageChannel
    app_id: str = strawberry.field(
        description="The official account that owns it; empty elsewhere."
    )
    template_id: str
    sign_name: str = strawberry.field(description="The signature of an SMS.")
    url: str
    fields: list[KeyValue] = strawberry.field(
        description="The template's own field names, each with the value that goes there."
    )
    set_by: str
    set_at: datetime


@strawberry.input(description="A template's own field and the value of ours that goes there.")
class TemplateField:
    """One field."""

    name: str
    value: str


@strawberry.type(description="A try at one channel.")
class MessageTry:
    """投递."""

    channel: MessageChannel
    state: str = strawberry.field(
        description="QUEUED, HELD (until `heldUntil`), SENT (a provider took it), ARRIVED (it says so),"
        " REFUSED, LIMITED (a limit forbids it), FAILED (taken, not received)."
    )
    created_at: datetime
    held_until: datetime | None
    sent_at: datetime | None
    arrived_at: datetime | None
    error: str | None


@strawberry.type(description="News for one person, with its tries.")
class Message:
    """消息."""

    key: strawberry.Private[UUID]
    event: str
    text: str
    created_at: datetime
    tries: list[MessageTry]


@strawberry.type(description="A channel of a chain, tried when those before it refused for good.")
class MessageStep:
    """One step."""

    channel: MessageChannel
    address: str = strawberry.field(description="Masked.")
    template_id: str | None = strawberry.field(description="Null: it would go as a chat text.")
    values: list[KeyValue]
    text: str
    fault: str | None = strawberry.field(description="Why this channel would not take it now.")


@strawberry.type(description="What customers of an account would get of an event; nothing is sent.")
class MessagePreview:
    """预览."""

    held_until: datetime | None
    chains: list[list[MessageStep]] = strawberry.field(description="One a person.")


@strawberry.type(description="How the group tells its customers.")
class MessageTerms:
    """消息设置."""

    quiet_from: str = strawberry.field(description="HH:MM in China; none when both are equal.")
    quiet_until: str
    number_hour: int = strawberry.field(description="SMS to a number in an hour.")
    number_day: int
    event_day: int = strawberry.field(description="SMS to a number of one event in a day.")
    group_day: int = strawberry.field(description="SMS of the whole group in a day.")
    sms_receipt_url: str | None = strawberry.field(
        description="Type it into the SMS account's console; only who may write credentials sees it."
    )


@strawberry.type(description="An Alipay user is told news of the account.")
class AlipayUserBound:
    """A binding by an operator."""

    account: strawberry.ID
    same_as: str | None


MessageTemplateResult = Annotated[
    MessageTemplate | AnyProblem, strawberry.union("MessageTemplateResult")
]
MessageTermsResult = Annotated[MessageTerms | AnyProblem, strawberry.union("MessageTermsResult")]
AlipayUserResult = Annotated[AlipayUserBound | AnyProblem, strawberry.union("AlipayUserResult")]


def _template_of(row: templates.KeptTemplate) -> MessageTemplate:
    return MessageTemplate(
        event=row.slot.event,
        channel=row.slot.channel,
        app_id=row.slot.app_id,
        template_id=row.template.template_id,
        sign_name=row.template.sign_name,
        url=row.template.url,
        fields=pairs(row.template.fields),
        set_by=row.set_by,
        set_at=row.set_at,
    )


def _terms_of(row: Terms, url: str | None) -> MessageTerms:
    return MessageTerms(
        quiet_from=clock_of(row.quiet.start),
        quiet_until=clock_of(row.quiet.end),
        number_hour=row.limits.number_hour,
        number_day=row.limits.number_day,
        event_day=row.limits.event_day,
        group_day=row.limits.group_day,
        sms_receipt_url=url,
    )


def _try_of(row: Try, now: datetime) -> MessageTry:
    state = row.state
    if state == "QUEUED" and row.held_until is not None and row.held_until > now:
        state = "HELD"
    if row.arrived_at is not None:
        state = "ARRIVED"
    return MessageTry(
        channel=row.channel,
        state=state,
        created_at=row.created_at,
        held_until=row.held_until,
        sent_at=row.sent_at,
        arrived_at=row.arrived_at,
        error=row.last_error,
    )


def _message_of(row: tuple[Told, list[Try]], now: datetime) -> Message:
    told, tries = row
    return Message(
        key=told.id,
        event=told.event,
        text=text(told.event, **told.params),
        created_at=told.created_at,
        tries=[_try_of(each, now) for each in tries],
    )


def _step_of(row: Step) -> MessageStep:
    return MessageStep(
        channel=row.channel,
        address=row.address,
        template_id=None if row.template is None else row.template.template_id,
        values=pairs(row.values),
        text=row.text,
        fault=row.fault,
    )


def _preview_of(row: Preview) -> MessagePreview:
    chains = [[_step_of(step) for step in chain] for chain in row.chains]
    return MessagePreview(held_until=row.held_until, chains=chains)


def _fields_of(given: list[TemplateField]) -> Mapping[str, str]:
    if len(given) > 20 or any(len(each.name) > 64 or len(each.value) > 64 for each in given):
        raise InvalidInput("a template has at most 20 fields of short names", field="fields")
    return {each.name: each.value for each in given}


@strawberry.type
class MessageQueries:
    """Reads."""

    @field(description="The group's templates. Needs `message:read` in the group.")
    async def message_templates(self, info: Info) -> list[MessageTemplate]:
        """Raises Forbidden."""
        scope = info.context.caller()
        async with info.context.work() as work:
            rows = await templates.templates(work, scope=scope)
        return [_template_of(row) for row in rows]

    @field(description="What customers of an account would get of an event, with sample values.")
    async def message_preview(
        self, info: Info, account: strawberry.ID, event: str
    ) -> MessagePreview:
        """Raises NotFound, Forbidden, InvalidInput."""
        scope, account_id, now = (
            info.context.caller(),
            uuid_of(account, "Account"),
            info.context.now,
        )
        async with info.context.work() as work:
            row = await preview(work, scope=scope, account_id=account_id, event=event, at=now)
        return _preview_of(row)

    @field(description="What was told to customers of an account and how it went, newest first.")
    async def messages(
        self, info: Info, account: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[Message]:
        """A page. Raises NotFound, InvalidInput."""
        scope, account_id, now = (
            info.context.caller(),
            uuid_of(account, "Account"),
            info.context.now,
        )
        before, limit = uuid_key(after), size(first) + 1
        async with info.context.work() as work:
            rows = await message_desk.messages_of_account(
                work, scope=scope, account_id=account_id, before=before, limit=limit
            )
        return page_by_key(rows, first, node=lambda row: _message_of(row, now))

    @field(description="Quiet hours and limits. Needs `message:read` in the group.")
    async def message_terms(self, info: Info) -> MessageTerms:
        """Raises Forbidden."""
        scope, ports = info.context.caller(), info.context.ports
        async with info.context.work() as work:
            row = await message_desk.terms_for(work, scope=scope)
        return _terms_of(row, message_desk.receipt_url(ports, scope=scope))


@strawberry.type
class MessageMutations:
    """Writes."""

    @mutation(Permission.MESSAGE_WRITE, of_group=True)
    async def save_message_template(
        self,
        info: Info,
        event: str,
        channel: MessageChannel,
        template_id: str,
        fields: list[TemplateField],
        app_id: str = "",
        sign_name: str = "",
        url: str = "",
    ) -> MessageTemplateResult:
        """Checked against the field types of the channel before it is kept."""
        scope, slot = info.context.caller(), templates.Slot(event, channel, app_id)
        template = Template(template_id, _fields_of(fields), sign_name, url)
        async with info.context.work() as work:
            row = await templates.save_template(
                work, scope=scope, slot=slot, template=template, at=info.context.now
            )
        return _template_of(row)

    @mutation(Permission.MESSAGE_WRITE, of_group=True)
    async def remove_message_template(
        self, info: Info, event: str, channel: MessageChannel, app_id: str = ""
    ) -> MessageTemplateResult:
        """Without a template SMS and Alipay refuse the event, and WeChat takes it as a chat text only."""
        scope, slot = info.context.caller(), templates.Slot(event, channel, app_id)
        async with info.context.work() as work:
            row = await templates.remove_template(work, scope=scope, slot=slot, at=info.context.now)
        return _template_of(row)

    @mutation(Permission.MESSAGE_WRITE, of_group=True)
    async def set_message_terms(
        self,
        info: Info,
        quiet_from: str,
        quiet_until: str,
        number_hour: int,
        number_day: int,
        event_day: int,
        group_day: int,
    ) -> MessageTermsResult:
        """Cuts, restores and codes are told at any hour; all else waits for the end of the quiet hours."""
        scope, ports = info.context.caller(), info.context.ports
        wanted = Terms(
            QuietHours(minute_of(quiet_from, "quietFrom"), minute_of(quiet_until, "quietUntil")),
            SmsLimits(number_hour, number_day, event_day, group_day),
        )
        async with info.context.work() as work:
            row = await terms.set_message_terms(
                work, scope=scope, terms=wanted, at=info.context.now
            )
        return _terms_of(row, message_desk.receipt_url(ports, scope=scope))

    @mutation(Permission.ACCOUNT_WRITE)
    async def bind_alipay_user(
        self,
        info: Info,
        account: strawberry.ID,
        app_id: str,
        user_id: str,
        same_as: str | None = None,
    ) -> AlipayUserResult:
        """`sameAs`: the openid of the bound WeChat customer who is the same person, told here only when
        WeChat refuses; without it the user is a person of his own."""
        await message_desk.bind_alipay(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            user=message_desk.AlipayUser(app_id, user_id, same_as),
            at=info.context.now,
        )
        return AlipayUserBound(account=account, same_as=same_as)
