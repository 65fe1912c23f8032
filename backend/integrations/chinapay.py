"""ChinaPay (银联电子支付, CHINAPAY) for one merchant: a second driver of PaymentChannel, on weaker evidence.

It is another company and another interface than UnionPay's gateway. What is known comes from one public
port (jfantasy Chinapay.java, channels.md 4.2) and demo copies; no signed sample is public, so signing is
proven only against our own stand-in. Where the evidence ends, the driver says UNKNOWN or refuses to act.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA512

from backend.integrations.bank_form import (
    NOTICE_LIMIT,
    china_time,
    fen_in,
    form_of,
    made_time,
    post_form,
    text_in,
)
from backend.integrations.chinapay_config import ChinapayConfig
from backend.kernel.clock import Clock, utc
from backend.kernel.errors import InvalidInput
from backend.topups.ports import (
    BillLine,
    ChannelRefused,
    ChannelUnavailable,
    NoticeRejected,
    Payment,
    PaymentState,
    PayMethod,
    Prepaid,
    PrepayRequest,
    RefundNotice,
    RefundRequest,
    RefundState,
)

_WHO = "ChinaPay"
_VERSION = "20140728"
_REST = "/CTITS/service/rest"
_PAGE = f"{_REST}/page/nref/000000000017/0/0/0/0/0"
_QUERY = f"{_REST}/forward/syn/000000000060/0/0/0/0/0"
_REFUND = f"{_REST}/forward/syn/000000000065/0/0/0/0/0"
_OK = "0000"
_ACCEPTED = "1003"
_UNSIGNED = frozenset({"Signature", "CertId"})
# A notice carries no time of signing; an order lives minutes (see unionpay_reading.FRESH).
_FRESH = timedelta(days=1)
_SKEW = timedelta(minutes=5)


def signed_text(fields: Mapping[str, str], /) -> bytes:
    """What the signature is over: all fields but Signature and CertId, sorted, `k=v` joined by `&`."""
    shown = sorted((name, value) for name, value in fields.items() if name not in _UNSIGNED)
    return "&".join(f"{name}={value}" for name, value in shown).encode()


def sign(fields: Mapping[str, str], /, *, key: RSAPrivateKey) -> dict[str, str]:
    """`fields` with their Signature (SHA512withRSA, base64)."""
    signature = key.sign(signed_text(fields), PKCS1v15(), SHA512())
    return {**fields, "Signature": base64.b64encode(signature).decode()}


def signed_form(body: bytes, /, *, key: RSAPublicKey) -> dict[str, str]:
    """The fields of a form that the holder of `key` signed. Raises ValueError."""
    fields = form_of(body)
    # Whether ChinaPay escapes the plus signs of base64 is not known; base64 has no spaces.
    given = fields.get("Signature", "").replace(" ", "+")
    try:
        key.verify(
            base64.b64decode(given, validate=True), signed_text(fields), PKCS1v15(), SHA512()
        )
    except (binascii.Error, InvalidSignature):
        raise ValueError("the signature is wrong") from None
    return fields


class ChinapayChannel:
    """Implements backend.topups.ports.PaymentChannel. Blocking calls run in a thread (3 s / 8 s)."""

    def __init__(self, config: ChinapayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._key = config.private_key
        self._public_key = config.public_key

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """The signed form that the payer's browser posts to ChinaPay: `action` and the fields.

        One page serves desktop and phone. How an order is made to expire is not known to us, so a late
        payment can come (C5 settles it). Raises InvalidInput.
        """
        if request.method not in (PayMethod.PAGE, PayMethod.WAP):
            raise InvalidInput("ChinaPay is paid on its own page", field="method")
        if request.amount_fen <= 0:
            raise InvalidInput("an order is more than 0 fen", field="amount_fen")
        fields = self._of_trade(request.order_no) | {
            "OrderAmt": str(request.amount_fen),
            "MerBgUrl": self._config.notify_url,
            "MerPageUrl": request.return_url,
        }
        form = sign({k: v for k, v in fields.items() if v}, key=self._key)
        return Prepaid(request.method, {"action": self._url(_PAGE), **form})

    async def query(self, order_no: str, /) -> Payment:
        """ChinaPay's word on an order: paid (OrderStatus 0000), or UNKNOWN with amount 0.

        No other status, nor the code for an order that is not known, is in the evidence: neither is
        taken for "not paid". Raises InvalidInput, ChannelUnavailable.
        """
        answer = await self._query(order_no)
        if answer.get("respCode") == _OK and answer.get("OrderStatus") == _OK:
            try:
                return payment_of(answer)
            except ValueError as error:
                raise ChannelUnavailable(f"the answer cannot be read: {error}") from None
        return Payment(order_no, PaymentState.UNKNOWN, self._config.mer_id, "", 0, "CNY")

    async def close(self, order_no: str, /) -> None:
        """ChinaPay has no call to close an order that we know of: this only keeps the port's word that a
        paid one is not closed. Raises ChannelRefused (`PAID`), ChannelUnavailable."""
        if (await self.query(order_no)).state is PaymentState.PAID:
            raise ChannelRefused("the order is paid", code_at_channel="PAID")

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Ask for a refund (0401), or for the state of one asked for before (same `refund_no`).

        An order number is unique by merchant and day, so one sent twice is refused the second time, which
        the caller gives to a person. Raises InvalidInput, ChannelRefused, ChannelUnavailable.
        """
        if not 0 < request.amount_fen <= request.total_fen:
            raise InvalidInput("a refund is more than 0 and at most what was paid")
        known = await self._query(request.refund_no)
        if known.get("respCode") == _OK:
            done = known.get("OrderStatus") == _OK
            return RefundState.DONE if done else RefundState.ACCEPTED
        fields = self._of_trade(request.refund_no) | {
            "TranType": "0401",
            "OriOrderNo": request.order_no,
            "OriTranDate": self._of_trade(request.order_no)["TranDate"],
            "RefundAmt": str(request.amount_fen),
            "MerBgUrl": self._config.notify_url,
        }
        answer = await self._ask(_REFUND, fields)
        code = answer.get("respCode", "")
        if code in (_OK, _ACCEPTED):
            return RefundState.ACCEPTED
        if not code:
            raise ChannelUnavailable("the answer has no response code")
        raise ChannelRefused(f"{code} {answer.get('respMsg', '')}".strip(), code_at_channel=code)

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """Verify and read a notice from its raw body (a form POST). Raises NoticeRejected."""
        if len(body) > NOTICE_LIMIT:
            raise NoticeRejected("the notice is too long")
        try:
            fields = signed_form(body, key=self._public_key)
            told = _told_in(fields)
            age = utc(received_at) - _ordered_at(fields)
        except ValueError as error:
            raise NoticeRejected(f"the notice cannot be read or proven: {error}") from None
        if not -_SKEW <= age <= _FRESH:
            raise NoticeRejected("the notice is about an order of another day")
        return told

    async def bill(self, day: date, /) -> list[BillLine]:
        """Not to be had: how ChinaPay's daily file is fetched is in no public material. Raises
        ChannelUnavailable always; a day is reconciled by `lines_of` instead."""
        raise ChannelUnavailable("ChinaPay's bill is fetched from its merchant console by hand")

    async def lines_of(
        self, *, order_nos: Sequence[str], refund_nos: Sequence[str]
    ) -> list[BillLine]:
        """Implements AsksEachNumber: a query (0502) for each number, one after the other.

        What ChinaPay does not confirm as done (0000) gets no line, whatever else it says, since its codes
        are not known. Raises InvalidInput, ChannelUnavailable.
        """
        lines = []
        for number in (*order_nos, *refund_nos):
            answer = await self._query(number)
            if answer.get("respCode") == _OK and answer.get("OrderStatus") == _OK:
                try:
                    lines.append(line_of(answer, refund=number in refund_nos))
                except ValueError as error:
                    raise ChannelUnavailable(f"the answer cannot be read: {error}") from None
        return lines

    def _of_trade(self, number: str) -> dict[str, str]:
        """The fields that name a trade. Raises InvalidInput for a number that is none of ours."""
        try:
            made = made_time(number)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        return {
            "Version": _VERSION,
            "MerId": self._config.mer_id,
            "MerOrderNo": number,
            "TranDate": made[:8],
            "TranTime": made[8:],
            "BusiType": "0001",
        }

    def _url(self, path: str) -> str:
        return self._config.base_url.rstrip("/") + path

    async def _query(self, number: str) -> dict[str, str]:
        return await self._ask(_QUERY, self._of_trade(number) | {"TranType": "0502"})

    async def _ask(self, path: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Sign, send, and give the verified answer to these fields. Raises ChannelUnavailable."""
        form = sign(fields, key=self._key)
        body = await asyncio.to_thread(post_form, self._url(path), form, who=_WHO)
        try:
            answer = signed_form(body.strip(), key=self._public_key)
        except ValueError as error:
            raise ChannelUnavailable(f"the answer cannot be read or proven: {error}") from None
        # A refusal may leave them out; a success about we do not know what is no success.
        optional = answer.get("respCode") not in (_OK, _ACCEPTED)
        if any(
            answer.get(name) != fields[name] and not (optional and name not in answer)
            for name in ("MerId", "MerOrderNo")
        ):
            raise ChannelUnavailable("the answer is about something else")
        return answer


def _ordered_at(fields: Mapping[str, str]) -> datetime:
    return china_time(text_in(fields, "TranDate") + text_in(fields, "TranTime"))


def _told_in(fields: Mapping[str, str]) -> Payment | RefundNotice:
    """What a signed notice tells. Raises ValueError."""
    if "OriOrderNo" in fields or "RefundAmt" in fields:
        return RefundNotice(text_in(fields, "MerOrderNo"), text_in(fields, "MerId"))
    if fields.get("OrderStatus") != _OK:
        raise ValueError("not the notice of a payment")
    return payment_of(fields)


def line_of(fields: Mapping[str, str], *, refund: bool) -> BillLine:
    """A payment or refund that is done, as a bill's line. Raises ValueError."""
    payment = payment_of(fields)
    assert payment.transaction_id is not None  # payment_of lets none without one through
    return BillLine(
        order_no=text_in(fields, "OriOrderNo") if refund else payment.order_no,
        transaction_id=payment.transaction_id,
        amount_fen=0 if refund else payment.amount_fen,
        refund_fen=fen_in(fields, "RefundAmt") if refund else 0,
        refund_no=payment.order_no if refund else None,
        at=payment.paid_at or _ordered_at(fields),
    )


def payment_of(fields: Mapping[str, str]) -> Payment:
    """The Payment of a paid order. Raises ValueError for a shape we do not know."""
    completed = fields.get("CompleteDate", "") + fields.get("CompleteTime", "")
    return Payment(
        order_no=text_in(fields, "MerOrderNo"),
        state=PaymentState.PAID,
        merchant_id=text_in(fields, "MerId"),
        app_id="",
        amount_fen=fen_in(fields, "OrderAmt"),
        # ChinaPay's own default when it names none.
        currency=fields.get("CurryNo") or "CNY",
        transaction_id=text_in(fields, "AcqSeqId"),
        paid_at=china_time(completed) if completed else None,
    )
