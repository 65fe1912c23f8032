"""The gateway of the Alipay stand-in: every request verified, every answer signed, pages for browsers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.kernel.money import Money
from backend.sandbox.alipay_bill import bill_of
from backend.sandbox.alipay_book import AlipayBook, Trade, TradeRefund, told
from backend.sandbox.alipay_keys import Alipay, App, is_signed, serial_of
from backend.sandbox.alipay_life import LifeAccount
from backend.sandbox.alipay_notices import AlipayNotices
from backend.sandbox.answers import CutAnswer
from backend.sandbox.cashier_page import safe_back
from backend.sandbox.faults import Faults

API_FAULTS = (
    "http_500",
    "drop_answer",
    "unsigned_answer",
    "bad_answer_signature",
    "busy",
    "refund_processing",
    "bad_bill",
    "code_refused",
)
_CODE_LIFE = timedelta(minutes=3)
VISITOR = "2088000000000001"
_FRESH = timedelta(minutes=10)
_PAGES = {
    "alipay.trade.wap.pay": "QUICK_WAP_PAY",
    "alipay.trade.page.pay": "FAST_INSTANT_TRADE_PAY",
}
_DONE = {"code": "10000", "msg": "Success"}


class Refused(Exception):
    """A business error in Alipay's words."""

    def __init__(self, sub_code: str, sub_msg: str, *, code: str = "40004") -> None:
        super().__init__(sub_code)
        self.node = {
            "code": code,
            "msg": "Business Failed",
            "sub_code": sub_code,
            "sub_msg": sub_msg,
        }


class Unsigned(Exception):
    """The request does not prove that the app sent it: answered without a signature."""

    def __init__(self, code: str, sub_code: str) -> None:
        super().__init__(sub_code)
        self.node = {"code": code, "msg": "Invalid Arguments", "sub_code": sub_code}


class Gateway:
    """`/gateway.do` as a merchant and a browser meet it. `public_url`: where a browser reaches us."""

    def __init__(
        self,
        *,
        book: AlipayBook,
        platform: Alipay,
        faults: Faults,
        notices: AlipayNotices,
        clock: Clock,
        public_url: str | None,
        life: LifeAccount,
    ) -> None:
        self._book = book
        self._life = life
        self._platform = platform
        self._faults = faults
        self._notices = notices
        self._clock = clock
        self._public_url = public_url
        self._files: dict[str, bytes] = {}
        self._codes: dict[str, tuple[str, str, datetime]] = {}
        self._refunded: list[tuple[Trade, TradeRefund]] = []
        self._calls: dict[str, Callable[[App, dict[str, Any], Request], dict[str, Any]]] = {
            "alipay.trade.create": self._create,
            "alipay.trade.query": self._query,
            "alipay.trade.close": self._close,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._refund_query,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill,
            "alipay.open.public.message.single.send": self._message,
        }

    def routes(self) -> list[Route]:
        """Routes under the root of the stand-in."""
        return [
            Route("/gateway.do", self._gateway, methods=["GET"]),
            Route("/oauth2/publicAppAuthorize.htm", self._authorize, methods=["GET"]),
            Route("/bill/{token}", self._download),
        ]

    async def _gateway(self, request: Request) -> Response:
        if self._faults.take("http_500"):
            return Response("busy", 500)
        params = dict(request.query_params)
        method = params.get("method", "")
        node = method.replace(".", "_") + "_response"
        try:
            app = self._authorised(params)
            content = json.loads(params.get("biz_content", "{}"))
            if method == "alipay.system.oauth.token":
                return self._token(app, node, params)
            if method in _PAGES:
                return self._open(app, params, content, request)
            if self._faults.take("busy"):
                raise Refused("isp.unknow-error", "系统繁忙", code="20000")
            if method not in self._calls:
                raise Refused("isv.invalid-method", "不存在的方法名", code="40002")
            answer = _DONE | self._calls[method](
                app, content | {"_notify": params.get("notify_url", "")}, request
            )
        except Unsigned as refused:
            return JSONResponse({node: refused.node})
        except Refused as refused:
            answer = refused.node
        except (KeyError, TypeError, ValueError) as error:
            answer = Refused("isv.invalid-parameter", f"参数错误 {error}", code="40002").node
        while self._refunded:
            await self._notices.tell(*self._refunded.pop())
        return self._answer(app, node, answer)

    def _answer(self, app: App, node: str, answer: dict[str, Any]) -> Response:
        """The answer, signed over the bytes of its node."""
        if self._faults.take("drop_answer"):
            return CutAnswer()
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        rest: dict[str, str] = {}
        if app.app_sn:
            rest["alipay_cert_sn"] = serial_of(self._platform.certificate)
        if not self._faults.take("unsigned_answer"):
            wrong = self._faults.take("bad_answer_signature")
            rest["sign"] = self._platform.sign(text + " " if wrong else text)
        tail = "".join(f',"{name}":{json.dumps(value)}' for name, value in rest.items())
        return Response(f'{{"{node}":{text}{tail}}}', media_type="text/html; charset=utf-8")

    async def _authorize(self, request: Request) -> Response:
        """Silent authorisation (auth_base): back with a code for the user of `?as=`, or the one there is."""
        asked, back = request.query_params, request.query_params.get("redirect_uri", "")
        good = self._book.app(asked.get("app_id", "")) is not None and safe_back(back)
        if not good or asked.get("scope") != "auth_base":
            return Response("授权参数错误", 400)
        code = secrets.token_hex(16)
        user = asked.get("as", VISITOR)
        self._codes[code] = (asked["app_id"], user, self._clock.now() + _CODE_LIFE)
        values = {"auth_code": code, "app_id": asked["app_id"], "scope": "auth_base"}
        values["state"] = asked.get("state", "")
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}{urlencode(values)}", 302)

    def _token(self, app: App, node: str, params: dict[str, str]) -> Response:
        """Who granted a code: once, to the app it was granted to. Refused as Alipay does it."""
        code = self._codes.pop(params.get("code", ""), ("", "", self._clock.now()))
        good = params.get("grant_type") == "authorization_code" and code[0] == app.app_id
        if not good or code[2] <= self._clock.now() or self._faults.take("code_refused"):
            refusal = {"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.code-invalid"}
            return self._answer(app, "error_response", refusal)
        name = "user_id" if code[1].startswith("2088") else "open_id"
        token = {"access_token": secrets.token_hex(20), "expires_in": "500", name: code[1]}
        return self._answer(app, node, token)

    def _authorised(self, params: dict[str, str]) -> App:
        """The app that signed these parameters. Raises Unsigned."""
        app = self._book.app(params.get("app_id", ""))
        if app is None:
            raise Unsigned("40002", "isv.invalid-app-id")
        if (params.get("app_cert_sn", ""), params.get("alipay_root_cert_sn", "")) != (
            app.app_sn,
            app.root_sn,
        ):
            raise Unsigned("40002", "isv.missing-app-cert-sn")
        if params.get("app_auth_token", "") != app.auth_token:
            raise Unsigned("20001", "aop.invalid-app-auth-token")
        good = (params.get("sign_type"), params.get("charset"), params.get("version"))
        if good != ("RSA2", "utf-8", "1.0") or not is_signed(params, by=app):
            raise Unsigned("40002", "isv.invalid-signature")
        sent = datetime.strptime(params["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
        if abs(self._clock.now() - sent) > _FRESH:
            raise Unsigned("40002", "isv.invalid-timestamp")
        return app

    def _now(self) -> datetime:
        return self._clock.now().astimezone(CHINA)

    def _base(self, request: Request) -> str:
        here = request.url.replace(path=request.scope.get("root_path", ""), query="")
        return (self._public_url or str(here)).rstrip("/")

    def _open(
        self, app: App, params: dict[str, str], content: dict[str, Any], request: Request
    ) -> Response:
        """A signed page: the trade begins now, and the browser goes to the cashier."""
        if content["product_code"] != _PAGES[params["method"]]:
            raise Refused("ACQ.PRODUCT_NOT_MATCH", "产品码不符")
        notify, back = params.get("notify_url", ""), params.get("return_url", "")
        trade = self._begin(app, content, notify_url=notify, return_url=back)
        return RedirectResponse(f"{self._base(request)}/cashier/{trade.trade_no}", 302)

    def _begin(
        self, app: App, content: dict[str, Any], *, notify_url: str, return_url: str = ""
    ) -> Trade:
        """A new trade, or the one of that number. Raises Refused for a changed or a finished one."""
        total = Money.parse(content["total_amount"]).fen
        now, until = self._now(), content.get("time_expire", "")
        known = self._book.trade(app_id=app.app_id, out_trade_no=content["out_trade_no"])
        if known is not None:
            if known.paid_at:
                raise Refused("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")
            if (known.total, known.subject) != (total, content["subject"]):
                raise Refused("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改")
            return known
        if total <= 0 or (until and until <= told(now)):
            raise Refused("ACQ.INVALID_PARAMETER", "金额或超时时间错误")
        return self._book.put(
            Trade(
                app_id=app.app_id,
                out_trade_no=content["out_trade_no"],
                seller_id=app.seller_id,
                total=total,
                subject=content["subject"],
                notify_url=notify_url,
                return_url=return_url,
                expires_at=until,
                trade_no=f"{now:%Y%m%d}2200{secrets.randbelow(10**16):016d}",
                created_at=told(now),
                buyer_id=str(content.get("buyer_id") or content.get("buyer_open_id") or ""),
            )
        )

    def _create(self, app: App, content: dict[str, Any], _: Request) -> dict[str, Any]:
        if content["product_code"] != "JSAPI_PAY" or content["op_app_id"] != app.app_id:
            raise Refused("ACQ.PRODUCT_NOT_MATCH", "产品码不符")
        if not content.get("buyer_id") and not content.get("buyer_open_id"):
            raise Refused("ACQ.BUYER_NOT_EXIST", "买家不存在")
        trade = self._begin(app, content, notify_url=content["_notify"])
        return {"out_trade_no": trade.out_trade_no, "trade_no": trade.trade_no}

    def _own(self, app: App, content: dict[str, Any]) -> Trade:
        trade = self._book.trade(app_id=app.app_id, out_trade_no=content["out_trade_no"])
        if trade is None:
            raise Refused("ACQ.TRADE_NOT_EXIST", "交易不存在")
        return trade

    def _query(self, app: App, content: dict[str, Any], _: Request) -> dict[str, Any]:
        trade = self._own(app, content)
        shown = {
            "trade_no": trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "trade_status": trade.state,
            "total_amount": str(Money.of_fen(trade.total)),
            "buyer_user_id": trade.buyer_id,
            "subject": trade.subject,
        }
        return shown | ({"send_pay_date": trade.paid_at} if trade.paid_at else {})

    def _close(self, app: App, content: dict[str, Any], _: Request) -> dict[str, Any]:
        trade = self._own(app, content)
        if trade.state != "WAIT_BUYER_PAY":
            raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        self._book.put(replace(trade, state="TRADE_CLOSED"))
        return {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no}

    def _refund(self, app: App, content: dict[str, Any], _: Request) -> dict[str, Any]:
        trade = self._own(app, content)
        number, amount = content["out_request_no"], Money.parse(content["refund_amount"]).fen
        before = self._book.refunds(app_id=app.app_id, out_trade_no=trade.out_trade_no)
        moved = False
        if same := next((one for one in before if one.out_request_no == number), None):
            if same.amount != amount:
                raise Refused("ACQ.DISCORDANT_REPEAT_REQUEST", "不一致的请求")
        else:
            if not trade.paid_at:
                raise Refused("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
            gone = sum(one.amount for one in before)
            if amount <= 0 or gone + amount > trade.total:
                raise Refused("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
            moved = not self._faults.take("refund_processing")
            refund = TradeRefund(
                app.app_id, number, trade.out_trade_no, amount, moved, told(self._now())
            )
            self._book.put_refund(refund)
            whole = gone + amount == trade.total
            trade = self._book.put(replace(trade, state="TRADE_CLOSED") if whole else trade)
            self._refunded.append((trade, refund))
        gone = sum(
            one.amount
            for one in self._book.refunds(app_id=app.app_id, out_trade_no=trade.out_trade_no)
        )
        return {
            "trade_no": trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "fund_change": "Y" if moved else "N",
            "refund_fee": str(Money.of_fen(gone)),
        }

    def _refund_query(self, app: App, content: dict[str, Any], _: Request) -> dict[str, Any]:
        trade, number = self._own(app, content), content["out_request_no"]
        for refund in self._book.refunds(app_id=app.app_id, out_trade_no=trade.out_trade_no):
            if refund.out_request_no == number and refund.done:
                return {
                    "trade_no": trade.trade_no,
                    "out_trade_no": trade.out_trade_no,
                    "out_request_no": number,
                    "refund_amount": str(Money.of_fen(refund.amount)),
                    "refund_status": "REFUND_SUCCESS",
                }
        return {}

    def _message(self, app: App, content: dict[str, Any], request: Request) -> dict[str, Any]:
        content = {name: value for name, value in content.items() if name != "_notify"}
        refusal = self._life.refusal(app, content)
        if refusal is not None:
            raise Refused(refusal, "消息发送失败")
        return self._life.take(app, content)

    def _bill(self, app: App, content: dict[str, Any], request: Request) -> dict[str, Any]:
        if content["bill_type"] != "trade":
            raise Refused("isv.invalid-arguments", "账单类型错误")
        packed = bill_of(book=self._book, app_id=app.app_id, day=content["bill_date"])
        if packed is None:
            raise Refused("isp.bill_not_exist", "账单不存在")
        if self._faults.take("bad_bill"):
            packed = packed[: len(packed) // 2]
        token = secrets.token_hex(16)
        self._files[token] = packed
        return {"bill_download_url": f"{self._base(request)}/bill/{token}"}

    async def _download(self, request: Request) -> Response:
        """The bill file, once."""
        packed = self._files.pop(request.path_params["token"], None)
        if packed is None:
            return Response("expired", 404)
        return Response(packed, media_type="application/zip")
