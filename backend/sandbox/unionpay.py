"""A stand-in for UnionPay 5.1.0: it checks our signature and our certificate, signs answers and notices
with a real chain of certificates, shows a cashier page, and misbehaves on demand. Loopback only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput
from backend.sandbox.answers import CutAnswer, control, json_object, text_of
from backend.sandbox.bank_book import BACK, DONE, PAY, PENDING, Trade, stamp
from backend.sandbox.bank_gateway import BankGateway
from backend.sandbox.cashier_page import Brand, refusal_page
from backend.sandbox.sending import RETRIES_S
from backend.sandbox.unionpay_bill import file_of, settled_on
from backend.sandbox.unionpay_keys import SIGNER_CN, Issued, issue, make_chain

_BRAND = Brand("银联在线支付", "#b3121d")
# How old the time of a refund may be here; the real limit and its code are not public.
_OLDEST = timedelta(days=1)
_FAULTS = (
    "own_cert_notice",
    "unknown_answer",
    "drop_refund_answer",
    "not_visible_yet",
    "broken_bill",
)


def unionpay_app(
    *, clock: Clock, store: str = ":memory:", retries_s: Sequence[float] = RETRIES_S
) -> Starlette:
    """The stand-in as an ASGI application; files are under /filedownload.

    `store` is a SQLite file that keeps trades, merchants and certificates over a restart.
    """
    return _UnionPay(
        brand=_BRAND,
        clock=clock,
        store=store,
        retries_s=retries_s,
        nobody="777290000000000",
        more_faults=_FAULTS,
    ).app()


class _UnionPay(BankGateway):
    """The gateway: front page, back calls, query, files."""

    signature = "signature"

    @cached_property
    def _pems(self) -> dict[str, str]:
        # Made when first wanted: three RSA keys take a while, and many a test mounts all stand-ins.
        return self._book.keys(lambda: make_chain(at=self._clock.now()))

    @cached_property
    def _signer(self) -> Issued:
        return Issued(key_pem=self._pems["signer.key"], certificate_pem=self._pems["signer"])

    def routes(self) -> list[Route]:
        """See BankGateway."""
        gateway = "/gateway/api"
        return [
            Route(f"{gateway}/frontTransReq.do", self._front, methods=["POST"]),
            Route(f"{gateway}/backTransReq.do", self.back(self._refund), methods=["POST"]),
            Route(f"{gateway}/queryTrans.do", self.back(self._query), methods=["POST"]),
            Route("/filedownload/", self.back(self._file), methods=["POST"]),
            Route("/control/merchants", control(self._merchants), methods=["POST"]),
        ]

    async def _merchants(self, request: Request) -> Response:
        body = await json_object(request)
        pem = text_of(body, "certificate")
        try:
            load_pem_x509_certificate(pem.encode())
        except ValueError:
            raise InvalidInput("a certificate is needed", field="certificate") from None
        self._book.put_merchant(mer_id=text_of(body, "mer_id"), pem=pem)
        return JSONResponse({name: self._pems[name] for name in ("root", "middle")})

    async def _asked(self, request: Request) -> dict[str, str] | None:
        """The fields of a form that a registered merchant signed, or None."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        pem = self._book.merchant(form.get("merId", ""))
        if pem is None or form.get("version") != "5.1.0":
            return None
        certificate = load_pem_x509_certificate(pem.encode())
        key = certificate.public_key()
        if form.get("certId") != str(certificate.serial_number) or not isinstance(
            key, RSAPublicKey
        ):
            return None
        try:
            key.verify(
                base64.b64decode(form.get("signature", "")), _digest(form), PKCS1v15(), SHA256()
            )
        except (ValueError, InvalidSignature):
            return None
        return form

    async def _front(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return refusal_page(_BRAND, "验证签名失败", status=400)
        trade = Trade(
            mer_id=asked["merId"],
            number=asked["orderId"],
            made=asked["txnTime"],
            kind=PAY,
            fen=int(asked["txnAmt"]),
            notify_url=asked["backUrl"],
            front_url=asked.get("frontUrl", ""),
            expires=asked.get("payTimeout", ""),
        )
        # Relative to /gateway/api/, so that a prefix this stand-in is mounted under stays.
        return self.opened(trade, action=f"../../cashier/{trade.number}")

    async def _query(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return self._answer({}, "11", "验证签名失败")
        trade = self._book.trade(mer_id=asked["merId"], number=asked["orderId"])
        # A payment is a transaction only once the payer has acted.
        unseen = trade is not None and self._faults.take("not_visible_yet")
        if (
            trade is None
            or unseen
            or trade.made != asked["txnTime"]
            or trade.state not in (DONE, PENDING)
        ):
            return self._answer(asked, "34", "查无此交易")
        told = fields_of(trade)
        if trade.state == PENDING:
            told["origRespCode"] = "05"
            self._book.done(trade, at=self._clock.now())
        else:
            told["origRespCode"] = "05" if self._faults.take("unknown_answer") else "00"
        return self._answer(told, "00", "成功[0000000]")

    async def _refund(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return self._answer({}, "11", "验证签名失败")
        mer_id = asked["merId"]
        payment = next(
            (
                trade
                for trade in self._book.trades()
                if (trade.mer_id, trade.kind, trade.serial) == (mer_id, PAY, asked["origQryId"])
            ),
            None,
        )
        if self._book.trade(mer_id=mer_id, number=asked["orderId"]) is not None:
            return self._answer(asked, "12", "重复交易")
        if payment is None or payment.state != DONE or asked["txnType"] != "04":
            return self._answer(asked, "35", "原交易状态不正确")
        if asked["txnTime"] < stamp(self._clock.now() - _OLDEST):
            return self._answer(asked, "31", "交易时间超限")
        fen = int(asked["txnAmt"])
        if not 0 < fen <= self._book.left(payment):
            return self._answer(asked, "36", "与原交易信息不符")
        refund = Trade(
            mer_id=mer_id,
            number=asked["orderId"],
            made=asked["txnTime"],
            kind=BACK,
            fen=fen,
            notify_url=asked["backUrl"],
            original=payment.number,
            state=PENDING,
        )
        self.given_back(refund)
        if self._faults.take("drop_refund_answer"):
            return CutAnswer()
        return self._answer(asked, "00", "成功[0000000]")

    async def _file(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return self._answer({}, "11", "验证签名失败")
        content = file_of(
            trades=self._book.trades(), mer_id=asked["merId"], month_day=asked["settleDate"]
        )
        if content is None:
            return self._answer(asked, "98", "文件不存在")
        if self._faults.take("broken_bill"):
            content = content[: len(content) // 8 * 4]
        return self._answer(asked | {"fileContent": content}, "00", "成功[0000000]")

    def notice(self, trade: Trade, /) -> dict[str, str]:
        """See BankGateway; `own_cert_notice` signs with a certificate that anybody could make."""
        signer = self._signer
        if self._faults.take("own_cert_notice"):
            # Anybody can write UnionPay's name into a certificate of his own.
            signer = issue(name=SIGNER_CN, at=self._clock.now())
        return signed(fields_of(trade) | {"respCode": "00", "respMsg": "success"}, signer)

    def _answer(self, told: Mapping[str, str], code: str, message: str) -> Response:
        """A signed answer `k=v&k=v`, not form-encoded, as UnionPay sends it."""
        ours = {name: value for name, value in told.items() if name not in ("certId", "signature")}
        answer = signed(ours | {"respCode": code, "respMsg": message}, self._signer)
        answer = self.spoiled(answer, fault="bad_signature_answer")
        body = "&".join(f"{name}={value}" for name, value in answer.items())
        return Response(body, media_type="text/html; charset=utf-8")


def fields_of(trade: Trade, /) -> dict[str, str]:
    """A done or pending trade as query and notice show it."""
    fields = {
        "accessType": "0",
        "bizType": "000201",
        "currencyCode": "156",
        "merId": trade.mer_id,
        "orderId": trade.number,
        "queryId": trade.serial,
        "settleAmt": str(trade.fen),
        "settleCurrencyCode": "156",
        "traceNo": trade.serial[-6:],
        "traceTime": trade.at[4:],
        "txnAmt": str(trade.fen),
        "txnSubType": "01" if trade.kind == PAY else "00",
        "txnTime": trade.made,
        "txnType": "01" if trade.kind == PAY else "04",
    }
    return fields | ({"settleDate": f"{settled_on(trade):%m%d}"} if trade.at else {})


def _digest(fields: Mapping[str, str]) -> bytes:
    pairs = sorted((k, v) for k, v in fields.items() if v and k != "signature")
    return hashlib.sha256("&".join(f"{k}={v}" for k, v in pairs).encode()).hexdigest().encode()


def signed(fields: Mapping[str, str], signer: Issued, /) -> dict[str, str]:
    """Fields with UnionPay's signature over them and the certificate that it names."""
    whole = {
        **fields,
        "version": "5.1.0",
        "encoding": "UTF-8",
        "signMethod": "01",
        "signPubKeyCert": signer.pem,
    }
    signature = signer.key.sign(_digest(whole), PKCS1v15(), SHA256())
    return {**whole, "signature": base64.b64encode(signature).decode()}
