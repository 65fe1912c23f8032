"""WeChat Pay's notices: verified with the merchant account of the path, kept, answered (C5).

A success is answered only after the notice is committed; a duplicate is a success as well. Whatever
cannot be believed is answered 4xx and changes nothing.
"""

from __future__ import annotations

import logging
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.journeys.notice import store_notice
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.metrics import NOTICES
from backend.tenancy import queries as tenancy
from backend.topups.ports import NoticeRejected

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024


def notice_route(ports: Ports, *, path: str) -> Route:
    """The POST route at `path` with `group_id` and `credential_id`."""

    async def receive(request: Request) -> Response:
        """Verify, keep, answer."""
        group_id: int = request.path_params["group_id"]
        credential_id: UUID = request.path_params["credential_id"]
        body = await bounded_body(request, limit=MAX_BODY)
        if body is None:
            return _refuse(413, "too large")
        try:
            async with unit_of_work(group_id) as work:
                credential = await tenancy.credential_by_id(
                    work, box=ports.box, credential_id=credential_id
                )
        except (NotFound, ValueError):
            return _refuse(404, "no such merchant account")
        channel = ports.payment_channel(group_id, credential)
        try:
            payment = channel.read_notice(request.headers, body, ports.clock.now())
        except NoticeRejected as refused:
            NOTICES.labels(channel="WECHAT_PAY", outcome="rejected").inc()
            log.warning("payment notice refused", extra={"fields": {"reason": refused.message}})
            return _refuse(401, refused.message)
        key = f"{credential_id}:{payment.order_no}:{payment.transaction_id}:{payment.state}"
        new = await store_notice(
            ports, group_id=group_id, credential_id=credential_id, key=key, payment=payment
        )
        NOTICES.labels(channel="WECHAT_PAY", outcome="kept" if new else "repeated").inc()
        return Response(status_code=204)

    return Route(path, receive, methods=["POST"])


async def bounded_body(request: Request, *, limit: int) -> bytes | None:
    """The raw body, or None as soon as it is longer than `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"code": "FAIL", "message": message}, status_code=status)
