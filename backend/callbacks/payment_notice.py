"""Payment notices: verified with the merchant account of the path, kept, answered (C5).

A success is answered only after the notice is committed; a duplicate is a success as well. Whatever
cannot be believed is answered 4xx and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.journeys.notice import refund_noticed, store_notice
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.metrics import NOTICES
from backend.tenancy import queries as tenancy
from backend.topups.ports import NoticeProbe, NoticeRejected, RefundNotice
from backend.topups.rules import Channel

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tongue:
    """What a channel wants to hear: `taken` ends its tries, anything else makes it try again."""

    status: int = 200
    taken: str = ""
    refused_as_json: bool = False

    def take(self) -> Response:
        """The notice is kept."""
        return Response(self.taken or None, self.status, media_type="text/plain")

    def refuse(self, status: int, message: str) -> Response:
        """The notice is not believed."""
        if not self.refused_as_json:
            return Response("fail", status, media_type="text/plain")
        body = json.dumps({"code": "FAIL", "message": message})
        return Response(body, status, media_type="application/json")


def notice_routes(ports: Ports, *, paths: dict[Channel, str]) -> list[Route]:
    """A POST route a channel, at its path with `group_id` and `credential_id`."""
    return [_route(ports, channel, path) for channel, path in paths.items()]


# channels.md sections 2.3 (204 without a body), 3.2 (exactly `success`), 4.1 (HTTP 200).
TONGUES = {
    Channel.WECHAT_PAY: Tongue(status=204, refused_as_json=True),
    Channel.ALIPAY: Tongue(taken="success"),
    Channel.UNIONPAY: Tongue(taken="ok"),
    Channel.CHINAPAY: Tongue(taken="ok"),
}


def _route(ports: Ports, channel: Channel, path: str) -> Route:
    tongue = TONGUES[channel]

    async def receive(request: Request) -> Response:
        """Verify, keep, answer."""
        group_id: int = request.path_params["group_id"]
        credential_id: UUID = request.path_params["credential_id"]
        body = await bounded_body(request, limit=MAX_BODY)
        if body is None:
            return tongue.refuse(413, "too large")
        try:
            async with unit_of_work(group_id) as work:
                credential = await tenancy.credential_by_id(
                    work, box=ports.box, credential_id=credential_id
                )
        except (NotFound, ValueError):
            return tongue.refuse(404, "no such merchant account")
        if credential.kind != channel:
            return tongue.refuse(404, "no such merchant account")
        adapter = ports.payment_channel(group_id, credential)
        try:
            payment = await asyncio.to_thread(
                adapter.read_notice, request.headers, body, ports.clock.now()
            )
        except NoticeProbe as probe:
            NOTICES.labels(channel=channel, outcome="probe").inc()
            return tongue.refuse(401, probe.message)
        except NoticeRejected as refused:
            NOTICES.labels(channel=channel, outcome="rejected").inc()
            log.warning("payment notice refused", extra={"fields": {"reason": refused.message}})
            return tongue.refuse(401, refused.message)
        if isinstance(payment, RefundNotice):
            owner = (credential.key, credential.public.get("sp_mchid", ""))
            if (payment.merchant_id, payment.provider_id) != owner:
                return tongue.refuse(401, "another merchant's refund")
            ours = await refund_noticed(ports, group_id=group_id, refund_no=payment.refund_no)
            NOTICES.labels(channel=channel, outcome="refund" if ours else "foreign_refund").inc()
            return tongue.take()
        new = await store_notice(
            ports,
            group_id=group_id,
            channel=channel,
            credential_id=credential_id,
            key=f"{credential_id}:{payment.order_no}:{payment.transaction_id}:{payment.state}",
            payment=payment,
        )
        NOTICES.labels(channel=channel, outcome="kept" if new else "repeated").inc()
        return tongue.take()

    return Route(path, receive, methods=["POST"])


async def bounded_body(request: Request, *, limit: int) -> bytes | None:
    """The raw body, or None as soon as it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
