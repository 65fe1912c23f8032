"""Receipts of SMS that Aliyun pushes (SmsReport): unsigned, so by a secret path and a number of ours.

Reference: channels.md section 5 [doc]. A receipt of a message that we did not send changes nothing and is
answered like any other, or Aliyun would push it again and again.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.alerts.ports import MessageChannel
from backend.callbacks.payment_notice import MAX_BODY, bounded_body
from backend.journeys.ports import Ports
from backend.journeys.receipts import Receipt, is_receipt_token, take_receipts

log = logging.getLogger(__name__)
PATH = "/callbacks/aliyun-sms/{group_id:int}/{token:str}"
_TAKEN = {"code": 0, "msg": "接收成功"}


def sms_receipt_route(ports: Ports) -> Route:
    """The POST route of every group's secret path."""

    async def receive(request: Request) -> Response:
        """Check the path, read, keep, answer."""
        group_id: int = request.path_params["group_id"]
        if group_id >= 2**63 or not is_receipt_token(
            ports, group_id=group_id, token=request.path_params["token"]
        ):
            return Response(status_code=404)
        body = await bounded_body(request, limit=MAX_BODY)
        if body is None:
            return Response(status_code=413)
        receipts = _receipts(body)
        if receipts is None:
            log.warning("SMS receipts refused", extra={"fields": {"reason": "no JSON array"}})
            return Response(status_code=400)
        await take_receipts(ports, group_id=group_id, channel=MessageChannel.SMS, receipts=receipts)
        return JSONResponse(_TAKEN)

    return Route(PATH, receive, methods=["POST"])


def _receipts(body: bytes) -> list[Receipt] | None:
    """The receipts of a push, None when it is none."""
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, list):
        return None
    found = []
    for each in told:
        if not isinstance(each, dict) or not isinstance(each.get("success"), bool):
            return None
        # A lost answer gave no BizId: then our own key names it (backend/integrations/aliyun_sms.py).
        ids = (str(each.get("biz_id") or ""), f"out:{each.get('out_id') or ''}")
        error = None if each["success"] else f"not received ({str(each.get('err_code'))[:40]})"
        found.append(Receipt(tuple(id_ for id_ in ids if id_ not in ("", "out:")), error))
    return found
