"""Pure decisions of accounts: masking, binding limits, account numbers."""

from __future__ import annotations

import re
from datetime import timedelta

from backend.kernel.errors import InvalidInput

CODE_LIFE = timedelta(minutes=5)
CODE_TRIES = 5
CODES_PER_ACCOUNT_A_DAY = 5
CODES_PER_CUSTOMER_A_DAY = 10
BINDINGS_PER_CUSTOMER = 10

_PHONE = re.compile(r"1[3-9][0-9]{9}")
_ACCOUNT_NO = re.compile(r"[0-9]{6,12}")


def mask_phone(phone: str) -> str:
    """138****5678: how a phone number is shown everywhere."""
    return f"{phone[:3]}****{phone[-4:]}"


def mask_place(text: str) -> str:
    """A place or name with its middle hidden: enough to recognise one's own, not to read another's."""
    if len(text) <= 2:
        return text[:1] + "*"
    keep = max(1, len(text) // 3)
    return text[:keep] + "*" * (len(text) - 2 * keep) + text[-keep:]


def check_phone(phone: str) -> str:
    """A mainland mobile number. Raises InvalidInput."""
    if not _PHONE.fullmatch(phone):
        raise InvalidInput("a phone number is 11 digits and starts with 1", field="phone")
    return phone


def check_account_no(no: str) -> str:
    """A 户号 of 6 to 12 digits. Raises InvalidInput."""
    if not _ACCOUNT_NO.fullmatch(no):
        raise InvalidInput("an account number has 6 to 12 digits", field="accountNo")
    return no


def may_send_code(*, sent_to_account: int, sent_to_customer: int) -> bool:
    """Whether another code may go out today: five an account, ten a customer (channels.md 6.5)."""
    return sent_to_account < CODES_PER_ACCOUNT_A_DAY and sent_to_customer < CODES_PER_CUSTOMER_A_DAY
