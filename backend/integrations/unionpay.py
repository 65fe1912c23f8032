"""UnionPay gateway 5.1.0 for one directly connected merchant: a PaymentChannel of our own.

No package on PyPI does this (channels.md 4.3), so fields, signing and the chain of certificates are ours;
`unionpay_wire` has the signature, `unionpay_reading` the meaning, `unionpay_bill` the daily file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from backend.integrations import unionpay_bill
from backend.integrations.bank_form import china_time, made_time, post_form
from backend.integrations.unionpay_config import UnionpayConfig
from backend.integrations.unionpay_reading import (
    NO_FILE,
    PAY,
    REFUND,
    UNKNOWN_ORDER,
    Word,
    open_notice,
    payment_of,
    word_of,
)
from backend.integrations.unionpay_wire import (
    VERSION,
    Unverified,
    cert_id,
    sign,
    split_answer,
)
from backend.kernel.clock import CHINA, Clock, day_period
from backend.kernel.errors import InvalidInput
from backend.topups.ports import (
    BillLine,
    ChannelRefused,
    ChannelUnavailable,
    Payment,
    PaymentState,
    PayMethod,
    Prepaid,
    PrepayRequest,
    RefundNotice,
    RefundRequest,
    RefundState,
)

_WHO = "UnionPay"
# channelType: 07 a desktop's browser, 08 a phone.
_DEVICES = {PayMethod.PAGE: "07", PayMethod.WAP: "08"}
_BILL_READY_AFTER = timedelta(hours=10)
# How long a txnTime is sent again; how old UnionPay takes one is in no public material (grade: own).
_TIME_GOOD_FOR = timedelta(hours=6)
# After this long a refund that was sent is seen by a query, and only then a new time is used: with two
# times it might be two refunds.
_VISIBLE_AFTER = timedelta(minutes=15)


class UnionpayChannel:
    """Implements backend.topups.ports.PaymentChannel. Blocking calls run in a thread (3 s / 8 s)."""

    def __init__(self, config: UnionpayConfig, /, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._key = config.private_key
        self._cert_id = cert_id(config.certificate)
        self._trust = config.trust

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """The signed form that the payer's browser posts to UnionPay: `action` and the fields.

        UnionPay first hears of the order when it is posted, so nothing is sent here. After `expires_at`
        (payTimeout) it takes no payment for it. Raises InvalidInput.
        """
        device = _DEVICES.get(request.method)
        if device is None:
            raise InvalidInput("UnionPay is paid on its own page", field="method")
        if request.amount_fen <= 0:
            raise InvalidInput("an order is more than 0 fen", field="amount_fen")
        expires = request.expires_at.astimezone(CHINA)
        fields = self._of_trade(request.order_no) | {
            "txnType": PAY,
            "txnSubType": "01",
            "bizType": "000201",
            "channelType": device,
            "txnAmt": str(request.amount_fen),
            "currencyCode": "156",
            "backUrl": self._config.notify_url,
            "frontUrl": request.return_url,
            "payTimeout": f"{expires:%Y%m%d%H%M%S}",
        }
        form = sign({k: v for k, v in fields.items() if v}, key=self._key)
        return Prepaid(request.method, {"action": self._gateway("frontTransReq"), **form})

    async def query(self, order_no: str, /) -> Payment:
        """UnionPay's word on an order; one it does not know, or whose try failed, is UNPAID with amount 0.

        Raises InvalidInput, ChannelUnavailable (also for an answer that is not about this order).
        """
        answer = await self._query(order_no)
        state = PaymentState.UNPAID
        if answer["respCode"] != UNKNOWN_ORDER:
            word = word_of(answer.get("origRespCode", ""))
            if word is Word.OK:
                return self._paid(answer)
            if word is Word.ASK:
                state = PaymentState.UNKNOWN
        # A failed try is no end: the payer may try another card until payTimeout.
        return Payment(order_no, state, self._config.mer_id, "", 0, "CNY")

    async def close(self, order_no: str, /) -> None:
        """UnionPay has no call to close an order: an unpaid one takes no payment after its payTimeout.

        So this only keeps the port's word that a paid order is not closed. Raises ChannelRefused
        (`PAID`), ChannelUnavailable.
        """
        if (await self.query(order_no)).state is PaymentState.PAID:
            raise ChannelRefused("the order is paid", code_at_channel="PAID")

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Ask for a refund (04), or for the state of one asked for before (same `refund_no`).

        The refund is an order of its own at UnionPay, so it is queried first; what UnionPay does not know
        is sent, and sent twice it is the same order (12 repeated), asked for later. A refund may be agreed
        to, or get through, long after its number was made, so its `txnTime` is not the number's but of the
        attempt: see `_attempts`. Raises InvalidInput, ChannelRefused (the code, or `NOT_PAID`),
        ChannelUnavailable.
        """
        if not 0 < request.amount_fen <= request.total_fen:
            raise InvalidInput("a refund is more than 0 and at most what was paid")
        now = self._clock.now()
        attempts = _attempts(request, now)
        for at in attempts:
            known = await self._query(request.refund_no, at=at)
            if known["respCode"] != UNKNOWN_ORDER:
                return _refund_state(known, request)
        if len(attempts) > 1 and now - attempts[-1] < _VISIBLE_AFTER:
            raise ChannelUnavailable("it may have been sent minutes ago under another time")
        payment = await self.query(request.order_no)
        if payment.state is not PaymentState.PAID or payment.transaction_id is None:
            raise ChannelRefused("the order is not paid", code_at_channel="NOT_PAID")
        fields = self._of_trade(request.refund_no, at=attempts[-1]) | {
            "txnType": REFUND,
            "txnSubType": "00",
            "bizType": "000201",
            "channelType": "07",
            "txnAmt": str(request.amount_fen),
            "backUrl": self._config.notify_url,
            "origQryId": payment.transaction_id,
        }
        answer = await self._ask(self._gateway("backTransReq"), fields)
        word = word_of(answer["respCode"])
        if word is Word.OK:
            return RefundState.ACCEPTED
        if word is Word.ASK:
            raise ChannelUnavailable(f"UnionPay does not know yet: {_told(answer)}")
        raise ChannelRefused(_told(answer), code_at_channel=answer["respCode"])

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment | RefundNotice:
        """Verify and read a notice from its raw body. Raises NoticeRejected.

        A refund that fails is told by no notice (public copies of the demo, grade: mirror): it is asked for.
        """
        return open_notice(trust=self._trust, body=body, received_at=received_at)

    async def bill(self, day: date, /) -> list[BillLine]:
        """The file of the settlement day, ready at 10:00 of the next. Raises ChannelUnavailable.

        A settlement day of UnionPay runs from 23:00 to 23:00 (common knowledge of the trade, grade: own),
        so what was paid in the last hour of `day` is in the next day's file.
        """
        now = self._clock.now()
        fields = self._common() | {
            "txnType": "76",
            "txnSubType": "01",
            "bizType": "000000",
            "fileType": "00",
            "settleDate": f"{day:%m%d}",
            "txnTime": f"{now.astimezone(CHINA):%Y%m%d%H%M%S}",
        }
        answer = await self._ask(f"{self._config.file_url.rstrip('/')}/", fields)
        if answer["respCode"] == NO_FILE and now >= _ready_at(day):
            return []
        if word_of(answer["respCode"]) is not Word.OK or not answer.get("fileContent"):
            raise ChannelUnavailable(f"there is no bill yet: {_told(answer)}")
        return unionpay_bill.lines_of(
            content=answer["fileContent"], mer_id=self._config.mer_id, settled=day
        )

    def _common(self) -> dict[str, str]:
        return {
            "version": VERSION,
            "encoding": "UTF-8",
            "signMethod": "01",
            "accessType": "0",
            "certId": self._cert_id,
            "merId": self._config.mer_id,
        }

    def _of_trade(self, number: str, *, at: datetime | None = None) -> dict[str, str]:
        """The fields that name a trade, of the time in its number or `at` another. Raises InvalidInput for
        a number that is none of ours."""
        try:
            time = made_time(number)
        except ValueError as error:
            raise InvalidInput(str(error)) from None
        if at is not None:
            time = f"{at.astimezone(CHINA):%Y%m%d%H%M%S}"
        return self._common() | {"orderId": number, "txnTime": time}

    def _gateway(self, name: str) -> str:
        return f"{self._config.base_url.rstrip('/')}/gateway/api/{name}.do"

    async def _query(self, number: str, *, at: datetime | None = None) -> dict[str, str]:
        """The answer about a trade: respCode 00, or 34 for one UnionPay does not know.

        Raises InvalidInput, ChannelUnavailable.
        """
        fields = self._of_trade(number, at=at) | {
            "txnType": "00",
            "txnSubType": "00",
            "bizType": "000000",
        }
        answer = await self._ask(self._gateway("queryTrans"), fields)
        code = answer["respCode"]
        if code != UNKNOWN_ORDER and word_of(code) is not Word.OK:
            raise ChannelUnavailable(f"the query was not answered: {_told(answer)}")
        return answer

    async def _ask(self, url: str, fields: Mapping[str, str]) -> dict[str, str]:
        """Sign, send, and give the verified answer to these fields. Raises ChannelUnavailable."""
        body = await asyncio.to_thread(post_form, url, sign(fields, key=self._key), who=_WHO)
        try:
            answer = split_answer(body.decode())
            self._trust.require(answer, at=self._clock.now())
        except Unverified as error:
            raise ChannelUnavailable(f"the answer could not be verified: {error}") from None
        except ValueError as error:
            raise ChannelUnavailable(f"the answer cannot be read: {error}") from None
        if not answer.get("respCode"):
            raise ChannelUnavailable("the answer has no response code")
        names = ("merId", "orderId", "txnTime") if "orderId" in fields else ("merId",)
        # A refusal may leave them out; a success about we do not know what is no success.
        optional = word_of(answer["respCode"]) is not Word.OK
        if any(
            answer.get(name) != fields[name] and not (optional and name not in answer)
            for name in names
        ):
            raise ChannelUnavailable("the answer is about something else")
        return answer

    def _paid(self, answer: Mapping[str, str]) -> Payment:
        try:
            return payment_of(answer, PaymentState.PAID)
        except ValueError as error:
            raise ChannelUnavailable(f"the answer cannot be read: {error}") from None


def _attempts(request: RefundRequest, now: datetime) -> list[datetime]:
    """The `txnTime`s under which a refund may have been sent, oldest first; the last one is for now.

    Counted from the first question, so that nothing has to be stored between two of them: an attempt
    takes a fresh time when the last one is old. Raises InvalidInput.
    """
    first = request.first_asked_at
    if first is None:
        try:
            first = china_time(made_time(request.refund_no))
        except ValueError as error:
            raise InvalidInput(str(error)) from None
    count = max(0, (now - first) // _TIME_GOOD_FOR)
    return [first + number * _TIME_GOOD_FOR for number in range(count + 1)]


def _refund_state(answer: Mapping[str, str], request: RefundRequest) -> RefundState:
    """What became of a refund that UnionPay knows. Raises ChannelUnavailable for another amount."""
    word = word_of(answer.get("origRespCode", ""))
    if word is Word.OK and answer.get("txnAmt") != str(request.amount_fen):
        raise ChannelUnavailable("the answer is about a refund of another amount")
    return {
        Word.OK: RefundState.DONE,
        Word.ASK: RefundState.ACCEPTED,
        Word.FAILED: RefundState.FAILED,
    }[word]


def _told(answer: Mapping[str, str]) -> str:
    return f"{answer['respCode']} {answer.get('respMsg', '')}".strip()


def _ready_at(day: date) -> datetime:
    """When the file of `day` is made: 10:00 China time of the next day."""
    end = day_period(day).end
    assert end is not None  # a day always ends
    return end + _BILL_READY_AFTER
