"""WeChat's callback: verify, answer within its five seconds, never twice (channels.md 1.5).

A message is claimed in the inbox before anything happens; a retry of it gets the stored answer, or
silence while the first is being worked on. What is not ready in time is answered with silence and
sent as a customer-service message when it is.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from backend.alerts.operations import queue_delivery
from backend.alerts.ports import MessageChannel
from backend.journeys.ports import Ports
from backend.journeys.receipts import Receipt, take_receipts
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.metrics import BOT_MESSAGES
from backend.outbox import operations as outbox
from backend.outbox.queries import outcome_of
from backend.tenancy import queries as tenancy
from bots.conversation import Conversation
from bots.wechat.inbound import (
    MAX_BODY_BYTES,
    Inbound,
    InboundRejected,
    Kind,
    receive,
    verify_endpoint,
)
from bots.wechat.keys import CallbackKeys
from bots.wechat.menu import said
from bots.wechat.outbound import SILENCE, render

log = logging.getLogger(__name__)
PATH = "/callbacks/wechat/{group}/{app_id}"
ANSWER_WITHIN_S = 4.0
_CHANNEL = "WECHAT_BOT"


@dataclass(frozen=True, slots=True)
class _Account:
    group_id: int
    app_id: str
    keys: CallbackKeys


class WechatCallback:
    """The two routes (GET to set up, POST for messages) of every official account."""

    def __init__(self, ports: Ports, conversation: Conversation) -> None:
        self._ports = ports
        self._conversation = conversation
        self._late: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Routes to mount."""
        return [
            Route(PATH, self.verify, methods=["GET"]),
            Route(PATH, self.message, methods=["POST"]),
        ]

    async def verify(self, request: Request) -> Response:
        """WeChat's check when the callback address is typed in: echo what proves the token."""
        try:
            account = await self._account(request)
            text = verify_endpoint(
                keys=account.keys, query=request.query_params, now=self._ports.clock.now()
            )
        except NotFound:
            return Response(status_code=404)
        except InboundRejected as refused:
            return self._refused(refused)
        return PlainTextResponse(text)

    async def message(self, request: Request) -> Response:
        """One message or event of a follower."""
        now = self._ports.clock.now()
        try:
            account = await self._account(request)
            body = await _bounded(request)
            inbound = receive(keys=account.keys, query=request.query_params, body=body, now=now)
        except NotFound:
            return Response(status_code=404)
        except InboundRejected as refused:
            return self._refused(refused)
        text = await self._answer(account, inbound)
        BOT_MESSAGES.labels(outcome="answered" if text else "silent").inc()
        if not text:
            return PlainTextResponse(SILENCE)
        sealed = render(
            keys=account.keys,
            inbound=inbound,
            replies=[text],
            nonce=secrets.token_hex(8),
            now=self._ports.clock.now(),
        )
        return Response(sealed, media_type="application/xml")

    async def _account(self, request: Request) -> _Account:
        group_id = await tenancy.group_of_code(request.path_params["group"])
        if group_id is None:
            raise NotFound("no such account")
        app_id: str = request.path_params["app_id"]
        async with unit_of_work(group_id) as work:
            credential = await tenancy.credential_by_key(
                work, box=self._ports.box, kind="WECHAT_OFFICIAL", key=app_id
            )
        keys = CallbackKeys(
            token=credential.secret["token"],
            aes_key=credential.secret["aes_key"],
            app_id=app_id,
        )
        return _Account(group_id, app_id, keys)

    async def _answer(self, account: _Account, inbound: Inbound) -> str:
        """The reply's text, empty for silence."""
        if inbound.kind is Kind.TEMPLATE_SENT:
            error = None if inbound.text == "success" else f"not received ({inbound.text})"
            await take_receipts(
                self._ports,
                group_id=account.group_id,
                channel=MessageChannel.WECHAT,
                receipts=[Receipt((inbound.event_key,), error)],
            )
        message = said(inbound)
        if message is None:
            return ""
        key = f"{account.app_id}:{inbound.dedupe_key}"
        async with unit_of_work(account.group_id) as work:
            inbox_id = await outbox.receive(
                work, channel=_CHANNEL, key=key, body={}, at=self._ports.clock.now()
            )
            if inbox_id is None:
                return await outcome_of(work, channel=_CHANNEL, key=key) or ""
        talk = asyncio.create_task(
            self._conversation.answer(
                group_id=account.group_id,
                app_id=account.app_id,
                openid=inbound.openid,
                said=message,
            )
        )
        done, _ = await asyncio.wait({talk}, timeout=ANSWER_WITHIN_S)
        if not done:
            late = asyncio.create_task(self._send_late(account, inbound, inbox_id, talk))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            return ""
        text = talk.result()
        await self._remember(account, inbox_id, text)
        return text

    async def _send_late(
        self, account: _Account, inbound: Inbound, inbox_id: UUID, talk: asyncio.Task[str]
    ) -> None:
        """The five seconds are over: the answer goes by customer-service message."""
        text = await talk
        await self._remember(account, inbox_id, text)
        async with unit_of_work(account.group_id) as work:
            await queue_delivery(
                work,
                channel=MessageChannel.WECHAT,
                event="bot_reply",
                key=f"late-{inbox_id.hex}",
                customer_id=None,
                content={"address": inbound.openid, "app_id": account.app_id, "text": text},
                at=self._ports.clock.now(),
            )

    async def _remember(self, account: _Account, inbox_id: UUID, text: str) -> None:
        async with unit_of_work(account.group_id) as work:
            await outbox.handled(work, inbox_id=inbox_id, outcome=text, at=self._ports.clock.now())

    @staticmethod
    def _refused(refused: InboundRejected) -> Response:
        BOT_MESSAGES.labels(outcome="refused").inc()
        log.warning("bot message refused", extra={"fields": {"reason": refused.reason}})
        return Response(status_code=refused.status)


async def _bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise InboundRejected(400, "body too large")
    return bytes(body)
