"""No phone number, token, secret or key reaches a log line."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.logs import JsonFormatter, redact
from backend.sandbox.pay_keys import new_private_pem

SECRET = "s3cr3t-Value_9"


@pytest.mark.parametrize(
    "text",
    [
        "password=s3cr3t-Value_9",
        'password: "s3cr3t-Value_9"',
        '{"password": "with space s3cr3t-Value_9"}',
        "{'token': 's3cr3t-Value_9', 'n': 1}",
        '{\\"code\\": \\"s3cr3t-Value_9\\"}',
        "Authorization: Bearer s3cr3t-Value_9",
        "authorization=Bearer s3cr3t-Value_9",
        "bearer s3cr3t-Value_9",
        "https://api.example.com/token?secret=s3cr3t-Value_9&x=1",
        "GET /cgi-bin/token?appid=1&app_secret=s3cr3t-Value_9",
        "apiv3_key=s3cr3t-Value_9",
        "api_key: s3cr3t-Value_9",
        "access_token=s3cr3t-Value_9",
        "signature='s3cr3t-Value_9'",
        "Cookie: s3cr3t-Value_9",
        "https://pay.example.com/p/s3cr3t-Value_9",
        "POST /p/s3cr3t-Value_9/pay HTTP/1.1",
        "POST /callbacks/aliyun-sms/17/s3cr3t-Value_9",
    ],
)
def test_a_secret_is_hidden_however_it_is_written(text: str) -> None:
    assert SECRET not in redact(text)
    assert "hidden" in redact(text)


def test_a_private_key_is_hidden_whole() -> None:
    pem = new_private_pem()
    for text in (f"key: {pem}", f"{pem!r} and more", json.dumps({"pem": pem})):
        shown = redact(text)
        assert "[key]" in shown
        assert pem.splitlines()[5] not in shown


@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True), st.sampled_from(["", "86", "+86", "+86 "]))
def test_a_phone_number_is_masked_with_and_without_its_country(phone: str, country: str) -> None:
    shown = redact(f"sms to {country}{phone}, sent")
    assert phone not in shown
    assert f"{phone[:3]}****{phone[-4:]}, sent" in shown


def test_numbers_that_are_no_phone_stay_readable() -> None:
    text = "order 20261122120000a1b2c3d4e5f60718 of 4200001234202611221234567890 took 12 ms"
    assert redact(text) == text


def test_a_log_line_is_one_json_object_with_nothing_secret_in_it() -> None:
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        caught = sys.exc_info()
    record = logging.LogRecord("a.b", logging.ERROR, __file__, 1, "to %s", ("13812345678",), caught)
    record.fields = {"token": SECRET, "phone": "13912345678", "count": 3}
    line = JsonFormatter().format(record)
    entry = json.loads(line)
    assert "\n" not in line
    assert SECRET not in line
    assert (entry["message"], entry["phone"]) == ("to 138****5678", "139****5678")
    assert (entry["token"], entry["count"], entry["level"]) == ("[hidden]", "3", "ERROR")
    assert "ValueError" in entry["exception"]
