"""A stand-in for ChinaPay (银联电子支付): it checks our signature, signs answers and notices, shows a cashier
page, and misbehaves on demand. It behaves as our driver believes ChinaPay does (weak evidence, see
backend/integrations/chinapay.py), so it proves our two halves against each other and no more. Loopback only.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cached_property
from urllib.parse import urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.bank_book import BACK, DONE, PAY, PENDING, Trade
from backend.sandbox.bank_gateway import BankGateway
from backend.sandbox.cashier_page import Brand, refusal_page
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.sandbox.sending import RETRIES_S

_BRAND = Brand("ChinaPay 银联电子支付", "#b3121d")
_REST = "/CTITS/service/rest"
_TAIL = "/0/0/0/0/0"


def chinapay_app(
    *, clock: Clock, store: str = ":memory:", retries_s: Sequence[float] = RETRIES_S
) -> Starlette:
    """The stand-in as an ASGI application; `store` is a SQLite file that survives a restart."""
    return _ChinaPay(
        brand=_BRAND, clock=clock, store=store, retries_s=retries_s, nobody="000000000000000"
    ).app()


class _ChinaPay(BankGateway):
    """Page pay, query and refund."""

    signature = "Signature"

    @cached_property
    def _pem(self) -> str:
        return self._book.keys(lambda: {"platform.key": new_private_pem()})["platform.key"]

    @cached_property
    def _key(self) -> RSAPrivateKey:
        key = load_pem_private_key(self._pem.encode(), password=None)
        assert isinstance(key, RSAPrivateKey)  # written by new_private_pem only
        return key

    def routes(self) -> list[Route]:
        """See BankGateway."""
        query = f"{_REST}/forward/syn/000000000060{_TAIL}"
        refund = f"{_REST}/forward/syn/000000000065{_TAIL}"
        return [
            Route(f"{_REST}/page/nref/000000000017{_TAIL}", self._front, methods=["POST"]),
            Route(query, self.back(self._query), methods=["POST"]),
            Route(refund, self.back(self._refund), methods=["POST"]),
            Route("/control/merchants", control(self._merchants), methods=["POST"]),
        ]

    async def _merchants(self, request: Request) -> Response:
        body = await json_object(request)
        pem = text_of(body, "public_key")
        try:
            good = isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
        except ValueError:
            good = False
        if not good:
            raise InvalidInput("an RSA public key is needed", field="public_key")
        self._book.put_merchant(mer_id=text_of(body, "mer_id"), pem=pem)
        return JSONResponse({"public_key": public_pem_of(self._pem)})

    async def _asked(self, request: Request) -> dict[str, str] | None:
        """The fields of a form that a registered merchant signed, or None."""
        form = {name: str(value) for name, value in (await request.form()).items()}
        pem = self._book.merchant(form.get("MerId", ""))
        if pem is None:
            return None
        key = load_pem_public_key(pem.encode())
        assert isinstance(key, RSAPublicKey)  # checked when the merchant was registered
        try:
            key.verify(
                base64.b64decode(form.get("Signature", "")), _plain(form), PKCS1v15(), SHA512()
            )
        except (ValueError, InvalidSignature):
            return None
        return form

    async def _front(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return refusal_page(_BRAND, "验签失败", status=400)
        trade = Trade(
            mer_id=asked["MerId"],
            number=asked["MerOrderNo"],
            made=asked["TranDate"] + asked["TranTime"],
            kind=PAY,
            fen=int(asked["OrderAmt"]),
            notify_url=asked["MerBgUrl"],
            front_url=asked.get("MerPageUrl", ""),
        )
        # Relative to .../page/nref/000000000017/0/0/0/0/, so that a prefix we are mounted under stays.
        return self.opened(trade, action=f"{'../' * 10}cashier/{trade.number}")

    async def _query(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return self._answer({"respCode": "1001", "respMsg": "验签失败"})
        trade = self._book.trade(mer_id=asked["MerId"], number=asked["MerOrderNo"])
        if trade is None:
            told = {name: asked[name] for name in ("MerId", "MerOrderNo", "TranDate")}
            return self._answer(told | {"respCode": "3012", "respMsg": "订单不存在"})
        answer = self._answer(fields_of(trade) | {"respCode": "0000", "respMsg": "成功"})
        if trade.state == PENDING:
            self._book.done(trade, at=self._clock.now())
        return answer

    async def _refund(self, request: Request) -> Response:
        asked = await self._asked(request)
        if asked is None:
            return self._answer({"respCode": "1001", "respMsg": "验签失败"})
        mer_id, number = asked["MerId"], asked["MerOrderNo"]
        told = {name: asked[name] for name in ("MerId", "MerOrderNo", "TranDate")}
        if self._book.trade(mer_id=mer_id, number=number) is not None:
            return self._answer(told | {"respCode": "3001", "respMsg": "订单号重复"})
        payment = self._book.trade(mer_id=mer_id, number=asked["OriOrderNo"])
        fen = int(asked["RefundAmt"])
        if payment is None or payment.state != DONE or not 0 < fen <= self._book.left(payment):
            return self._answer(told | {"respCode": "3007", "respMsg": "原交易不符"})
        refund = Trade(
            mer_id=mer_id,
            number=number,
            made=asked["TranDate"] + asked["TranTime"],
            kind=BACK,
            fen=fen,
            notify_url=asked["MerBgUrl"],
            original=payment.number,
            state=PENDING,
        )
        self.given_back(refund)
        return self._answer(told | {"respCode": "1003", "respMsg": "已受理"})

    def notice(self, trade: Trade, /) -> dict[str, str]:
        """See BankGateway."""
        return signed(fields_of(trade), self._key)

    def _answer(self, told: Mapping[str, str]) -> Response:
        answer = self.spoiled(signed(told, self._key), fault="bad_signature_answer")
        return Response(urlencode(answer), media_type="text/plain")


def _plain(fields: Mapping[str, str]) -> bytes:
    shown = sorted((k, v) for k, v in fields.items() if k not in ("Signature", "CertId"))
    return "&".join(f"{k}={v}" for k, v in shown).encode()


def fields_of(trade: Trade) -> dict[str, str]:
    """What answers and notices say of a trade."""
    fields = {
        "Version": "20140728",
        "MerId": trade.mer_id,
        "MerOrderNo": trade.number,
        "TranDate": trade.made[:8],
        "TranTime": trade.made[8:],
        "OrderAmt": str(trade.fen),
        "BusiType": "0001",
        "CurryNo": "CNY",
        "OrderStatus": "0000" if trade.state == DONE else "0001",
    }
    if trade.kind == BACK:
        fields |= {
            "TranType": "0401",
            "OriOrderNo": trade.original,
            "RefundAmt": str(trade.fen),
        }
    if trade.state == DONE:
        fields |= {
            "AcqSeqId": trade.serial,
            "AcqDate": trade.at[:8],
            "CompleteDate": trade.at[:8],
            "CompleteTime": trade.at[8:],
        }
    return fields


def signed(fields: Mapping[str, str], key: RSAPrivateKey) -> dict[str, str]:
    """The fields with ChinaPay's signature."""
    signature = key.sign(_plain(fields), PKCS1v15(), SHA512())
    return {**fields, "Signature": base64.b64encode(signature).decode()}
