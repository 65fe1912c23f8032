"""The APIv3 endpoints of the WeChat Pay stand-in: every request verified, every answer signed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.sandbox.answers import CutAnswer, Handler
from backend.sandbox.faults import Faults
from backend.sandbox.pay_bill import bill_of
from backend.sandbox.pay_book import Order, PayBook, Refund, default_expiry
from backend.sandbox.pay_certificates import Signing
from backend.sandbox.pay_keys import (
    Merchant,
    NotAuthorised,
    named_merchant,
    require_authorization,
)
from backend.sandbox.pay_notices import order_json, refund_json

API_FAULTS = (
    "http_500",
    "drop_answer",
    "bad_bill_hash",
    "refund_processing",
    "refund_abnormal",
    "unsigned_answer",
)
_OWN = "/v3/pay/transactions"
_PARTNER = "/v3/pay/partner/transactions"
_NUMBER = "/out-trade-no/{number}"
_KINDS = {"jsapi": "JSAPI", "h5": "H5", "native": "NATIVE"}


class Refused(Exception):
    """A business error in the channel's own words: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose signature is right: who, the JSON body, and the request itself. `sub_mchid` is for
    whom a service provider calls, "" for an own merchant."""

    merchant: Merchant
    body: dict[str, Any]
    request: Request
    sub_mchid: str = ""

    @property
    def owner(self) -> str:
        """Whose orders this call is about."""
        return self.sub_mchid or self.merchant.mchid


Action = Callable[[Call], Awaitable[dict[str, Any] | None]]


class PayApi:
    """The endpoints that a merchant calls. `public_url` is where a browser reaches the cashier."""

    def __init__(
        self,
        *,
        book: PayBook,
        signing: Signing,
        faults: Faults,
        clock: Clock,
        public_url: str | None,
    ) -> None:
        self._book = book
        self._signing = signing
        self._faults = faults
        self._clock = clock
        self._public_url = public_url
        self._files: dict[str, bytes] = {}

    def routes(self) -> list[Route]:
        """Routes under the root of the stand-in."""
        refunds = "/v3/refund/domestic/refunds"
        orders = [
            route
            for root in (_OWN, _PARTNER)
            for route in (
                Route(root + "/{kind}", self._signed(self._create), methods=["POST"]),
                Route(root + _NUMBER, self._signed(self._query)),
                Route(root + _NUMBER + "/close", self._signed(self._close), methods=["POST"]),
            )
        ]
        return [
            *orders,
            Route("/v3/certificates", self._signed(self._certificates)),
            Route(refunds, self._signed(self._refund), methods=["POST"]),
            Route(refunds + "/{number}", self._signed(self._query_refund)),
            Route("/v3/bill/tradebill", self._signed(self._bill)),
            Route("/v3/billdownload/file", self._download),
        ]

    def base(self, request: Request, /) -> str:
        """Where this stand-in is reached, without trailing slash."""
        # Not request.base_url: it leaves out the prefix this stand-in is mounted under.
        here = request.url.replace(path=request.scope.get("root_path", ""), query="")
        return (self._public_url or str(here)).rstrip("/")

    def _signed(self, action: Action) -> Handler:
        """An endpoint around `action`: verify, act, sign the answer (also an empty one)."""

        async def endpoint(request: Request) -> Response:
            if self._faults.take("http_500"):
                return JSONResponse({"code": "SYSTEM_ERROR", "message": "系统繁忙"}, 500)
            try:
                merchant, raw = await self._authorised(request)
            except NotAuthorised as error:
                return JSONResponse({"code": "SIGN_ERROR", "message": str(error)}, 401)
            try:
                answer = await action(self._call(merchant, json.loads(raw or b"{}"), request))
                status = 204 if answer is None else 200
            except Refused as refused:
                status = refused.status
                answer = {"code": refused.code, "message": refused.message}
            except (KeyError, TypeError, ValueError) as error:
                status, answer = 400, {"code": "PARAM_ERROR", "message": f"参数错误: {error}"}
            if self._faults.take("drop_answer"):
                return CutAnswer()
            body = b"" if answer is None else json.dumps(answer, ensure_ascii=False).encode()
            by_key = request.headers.get("wechatpay-serial", "").startswith("PUB_KEY_ID_")
            headers = self._signing.headers(
                merchant, body=body, at=self._clock.now(), by_key=by_key
            )
            if self._faults.take("unsigned_answer"):
                headers = {}
            return Response(
                body, status, headers, "application/json; charset=utf-8" if body else None
            )

        return endpoint

    async def _authorised(self, request: Request) -> tuple[Merchant, bytes]:
        """The merchant that signed this request, and the raw body. Raises NotAuthorised."""
        authorization = request.headers.get("authorization", "")
        merchant = self._book.merchant(named_merchant(authorization))
        if merchant is None:
            raise NotAuthorised("an unknown merchant")
        # The merchant signs the path it knows, without the prefix this stand-in is mounted under.
        target = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if request.url.query:
            target += f"?{request.url.query}"
        raw = await request.body()
        require_authorization(
            authorization=authorization,
            merchant=merchant,
            method=request.method,
            target=target,
            body=raw,
            at=self._clock.now(),
        )
        return merchant, raw

    def _call(self, merchant: Merchant, body: dict[str, Any], request: Request) -> Call:
        """The call with its sub-merchant, which must be the provider's; a provider's paths and fields do
        not mix with an own merchant's. Raises Refused, KeyError."""
        fields = {**request.query_params, **body}
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path.startswith(_PARTNER + "/"):
            if fields["sp_mchid"] != merchant.mchid:
                raise Refused(400, "MCH_NOT_EXISTS", "商户号不存在")
            sub = fields["sub_mchid"]
        elif path.startswith(_OWN + "/"):
            if fields["mchid"] != merchant.mchid:
                raise Refused(400, "MCH_NOT_EXISTS", "商户号不存在")
            sub = ""
        else:
            sub = fields.get("sub_mchid", "")
        if sub and self._book.sub_appid(mchid=merchant.mchid, sub_mchid=sub) is None:
            raise Refused(403, "NO_AUTH", "服务商与子商户没有受理关系")
        return Call(merchant, body, request, sub)

    async def _certificates(self, call: Call) -> dict[str, Any]:
        if not call.merchant.certificates:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "证书不存在")
        return self._signing.download(call.merchant, at=self._clock.now())

    def _own_order(self, call: Call, number: str) -> Order:
        """The order of this merchant, or of this provider for it. Raises Refused ORDER_NOT_EXIST."""
        order = self._book.order(mchid=call.owner, out_trade_no=number)
        provider = call.merchant.mchid if call.sub_mchid else ""
        if order is None or order.sp_mchid != provider:
            raise Refused(404, "ORDER_NOT_EXIST", "订单不存在")
        return order

    async def _create(self, call: Call) -> dict[str, Any]:
        kind = _KINDS.get(call.request.path_params["kind"])
        body, merchant = call.body, call.merchant
        if kind is None:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "没有这种支付方式")
        appid, openid = self._payer_app(call, kind)
        total = body["amount"]["total"]
        if type(total) is not int or total <= 0 or "?" in body["notify_url"]:
            raise Refused(400, "PARAM_ERROR", "参数错误")
        now = self._clock.now()
        order = Order(
            mchid=call.owner,
            out_trade_no=body["out_trade_no"],
            appid=appid,
            kind=kind,
            total=total,
            description=body["description"],
            notify_url=body["notify_url"],
            openid=openid,
            expires_at=body.get("time_expire") or default_expiry(now.astimezone(CHINA)),
            asked=json.dumps([kind, body], sort_keys=True),
            prepay_id=f"wx{now.astimezone(CHINA):%d%H%M%S}{secrets.token_hex(12)}",
            sp_mchid=merchant.mchid if call.sub_mchid else "",
            sp_appid=merchant.appid if call.sub_mchid else "",
        )
        if kind == "H5" and not body["scene_info"]["payer_client_ip"]:
            raise Refused(400, "PARAM_ERROR", "payer_client_ip")
        order = self._known_or_new(order)
        cashier = f"{self.base(call.request)}/cashier/{order.prepay_id}"
        if kind == "JSAPI":
            return {"prepay_id": order.prepay_id}
        return {"h5_url": cashier} if kind == "H5" else {"code_url": cashier}

    def _payer_app(self, call: Call, kind: str) -> tuple[str, str]:
        """The app an order is asked under ("": the provider's) and the payer's openid of that app (JSAPI).

        Raises Refused, KeyError."""
        body, merchant = call.body, call.merchant
        appid, name = body.get("appid", ""), "openid"
        good = appid == merchant.appid
        if call.sub_mchid:
            appid = body.get("sub_appid", "")
            theirs = self._book.sub_appid(mchid=merchant.mchid, sub_mchid=call.sub_mchid)
            good = body["sp_appid"] == merchant.appid and appid in ("", theirs)
            name = "sub_openid" if appid else "sp_openid"
        if not good:
            raise Refused(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")
        if kind != "JSAPI":
            return appid, ""
        if set(body["payer"]) != {name}:
            raise Refused(400, "PARAM_ERROR", "appid和openid不匹配")
        return appid, body["payer"][name]

    def _known_or_new(self, order: Order) -> Order:
        """Store `order`, or find the same one again. Raises Refused for the same number otherwise."""
        known = self._book.order(mchid=order.mchid, out_trade_no=order.out_trade_no)
        if known is None:
            self._book.put_order(order)
            return order
        if known.paid_at:
            raise Refused(400, "ORDERPAID", "该订单已支付")
        if known.state == "CLOSED":
            raise Refused(400, "ORDER_CLOSED", "该订单已关闭")
        if known.asked != order.asked:
            raise Refused(400, "INVALID_REQUEST", "请求重入时，参数与首次请求时不一致")
        return known

    async def _query(self, call: Call) -> dict[str, Any]:
        return order_json(self._own_order(call, call.request.path_params["number"]))

    async def _close(self, call: Call) -> None:
        order = self._own_order(call, call.request.path_params["number"])
        if order.paid_at:
            raise Refused(400, "ORDERPAID", "该订单已支付")
        self._book.put_order(replace(order, state="CLOSED"))

    async def _refund(self, call: Call) -> dict[str, Any]:
        body, mchid = call.body, call.owner
        order = self._own_order(call, body["out_trade_no"])
        amount, number = body["amount"], body["out_refund_no"]
        known = self._book.refund(mchid=mchid, out_refund_no=number)
        if known is not None:
            if (known.refund, known.out_trade_no) != (amount["refund"], order.out_trade_no):
                raise Refused(400, "INVALID_REQUEST", "退款单号重复且参数不一致")
            if known.status == "PROCESSING":
                known = replace(known, status=self._ending())
                self._book.put_refund(known)
            return refund_json(known)
        if not order.paid_at:
            raise Refused(400, "INVALID_REQUEST", "订单未支付")
        done = [
            each
            for each in self._book.refunds(mchid=mchid)
            if each.out_trade_no == order.out_trade_no and each.status != "ABNORMAL"
        ]
        left = order.total - sum(refund.refund for refund in done)
        if amount["total"] != order.total or not 0 < amount["refund"] <= left:
            raise Refused(400, "INVALID_REQUEST", "订单金额或退款金额不正确")
        refund = Refund(
            mchid=mchid,
            out_refund_no=number,
            out_trade_no=order.out_trade_no,
            refund=amount["refund"],
            total=order.total,
            refund_id=f"50{secrets.randbelow(10**24):024d}",
            status="PROCESSING" if self._faults.take("refund_processing") else self._ending(),
            at=self._clock.now().astimezone(CHINA).isoformat(timespec="seconds"),
        )
        self._book.put_refund(refund)
        self._book.put_order(replace(order, state="REFUND"))
        return refund_json(refund)

    def _ending(self) -> str:
        """How a refund ends: the payer has it, or the card is void."""
        return "ABNORMAL" if self._faults.take("refund_abnormal") else "SUCCESS"

    async def _query_refund(self, call: Call) -> dict[str, Any]:
        number = call.request.path_params["number"]
        refund = self._book.refund(mchid=call.owner, out_refund_no=number)
        if refund is None:
            raise Refused(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        return refund_json(refund)

    async def _bill(self, call: Call) -> dict[str, Any]:
        day = call.request.query_params["bill_date"]
        found = bill_of(book=self._book, mchid=call.owner, day=day)
        if found is None:
            raise Refused(400, "NO_STATEMENT_EXIST", "账单文件不存在")
        packed, sha1 = found
        token = secrets.token_hex(16)
        self._files[token] = packed
        return {
            "hash_type": "SHA1",
            "hash_value": "0" * 40 if self._faults.take("bad_bill_hash") else sha1,
            "download_url": f"{self.base(call.request)}/v3/billdownload/file?token={token}",
        }

    async def _download(self, request: Request) -> Response:
        """The bill file: the request must be signed, the file itself is not."""
        try:
            await self._authorised(request)
        except NotAuthorised as error:
            return JSONResponse({"code": "SIGN_ERROR", "message": str(error)}, 401)
        packed = self._files.pop(request.query_params.get("token", ""), None)
        if packed is None:
            return JSONResponse({"code": "RESOURCE_NOT_EXISTS", "message": "链接已失效"}, 404)
        return Response(packed, media_type="application/octet-stream")
