"""Known answers from public documents: our reading of Alipay's signatures agrees with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from alipay import DCAliPay
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from backend.bootstrap import build_ports
from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.alipay_reading import open_notice
from backend.integrations.alipay_wire import AlipayWire, signed_node
from backend.kernel.clock import CHINA, SystemClock
from backend.kernel.errors import InvalidInput
from backend.kernel.ids import uuid7
from backend.kernel.settings import Settings
from backend.sandbox.alipay_keys import App, is_signed, serial_of
from backend.sandbox.pay_keys import new_private_pem
from backend.tenancy.queries import Credential
from backend.topups.ports import NoticeRejected, Payment, PaymentState
from workers.models import meter_models

from .test_public_vectors import VECTORS

SENT = datetime(2023, 12, 21, 16, 26, 45, tzinfo=CHINA)


def _public(vector: dict[str, Any]) -> str:
    key = load_pem_x509_certificate(vector["cert"].encode()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _wire(public_key: str) -> AlipayWire:
    return AlipayWire(
        AlipayConfig(
            app_id="9021000122682882",
            seller_id="2088721003899159",
            notify_url="https://shop.example/notice",
            private_key=new_private_pem(),
            alipay_public_key=public_key,
        )
    )


def test_the_notice_verifies_and_is_read_to_the_fen() -> None:
    vector = VECTORS["alipay-notify"]
    wire, body = _wire(_public(vector)), urlencode(vector["params"]).encode()
    payment = open_notice(wire=wire, body=body, received_at=SENT)
    assert isinstance(payment, Payment)
    assert payment == Payment(
        order_no="1703147160",
        state=PaymentState.PAID,
        merchant_id="2088721003899159",
        app_id="9021000122682882",
        amount_fen=1,
        currency="CNY",
        transaction_id="2023122122001499160501589436",
        paid_at=SENT.replace(second=43),
        payer_id="2088722003899169",
    )


@pytest.mark.parametrize("field", sorted(VECTORS["alipay-notify"]["params"]))
def test_any_field_of_the_notice_that_is_changed_or_left_out_is_refused(field: str) -> None:
    vector = VECTORS["alipay-notify"]
    wire, params = _wire(_public(vector)), vector["params"]
    left_out = {name: value for name, value in params.items() if name != field}
    for wrong in (left_out, params | {field: params[field] + "1"}):
        with pytest.raises(NoticeRejected):
            open_notice(wire=wire, body=urlencode(wrong).encode(), received_at=SENT)


def test_the_notice_of_another_platform_is_refused() -> None:
    body = urlencode(VECTORS["alipay-notify"]["params"]).encode()
    with pytest.raises(NoticeRejected):
        open_notice(wire=_wire(_public(VECTORS["alipay-request"])), body=body, received_at=SENT)


def test_the_request_is_signed_as_the_platform_checks_it() -> None:
    vector = VECTORS["alipay-request"]
    params = vector["params"] | {"sign": vector["signature"]}
    app = App(vector["params"]["app_id"], "", _public(vector))
    assert is_signed(params, by=app)
    assert not is_signed(params | {"method": "alipay.trade.refund"}, by=app)


def test_the_answer_is_verified_over_the_bytes_of_its_node() -> None:
    vector = VECTORS["alipay-sync-response"]
    node = "alipay_fund_trans_uni_transfer_response"
    raw = f'{{"{node}":{vector["message"]},"alipay_cert_sn":"x","sign":"{vector["signature"]}"}}'
    assert signed_node(raw, node) == vector["message"]
    sdk = _wire(_public(vector)).sdk
    assert sdk._verify_and_return_sync_response(raw, node)["trans_amount"] == "0.01"


def test_braces_inside_a_text_do_not_cut_the_node_short() -> None:
    text = '{"msg":"a } and a { in a text","b":{"c":"}"}}'
    assert signed_node('{"x_response":' + text + ',"sign":"s"}', "x_response") == text


def test_the_certificates_number_is_alipays_own_formula() -> None:
    vector = VECTORS["alipay-app-cert-sn"]
    assert DCAliPay.get_cert_sn(vector["cert"]) == vector["expected"]
    assert serial_of(load_pem_x509_certificate(vector["cert"].encode())) == vector["expected"]


def test_the_printed_keys_are_refused_by_production_settings_and_by_no_others() -> None:
    settings = Settings(
        environment="production",
        database_url="postgresql://nobody@127.0.0.1:1/none",
        redis_url="redis://127.0.0.1:1",
        public_url="https://shop.example",
        secret_keys={1: bytes(32)},
    )
    clock = SystemClock()
    credential = Credential(
        id=uuid7(clock.now()),
        project_id=None,
        kind="ALIPAY",
        key="2088721003899159",
        public={
            "app_id": "9021000122682882",
            "alipay_public_key": _public(VECTORS["alipay-notify"]),
        },
        secret={"private_key": new_private_pem()},
    )
    with pytest.raises(InvalidInput) as refused:
        build_ports(settings, clock=clock, meter_models=meter_models()).payment_channel(
            7, credential
        )
    assert refused.value.field == "alipay_public_key"
    trial = replace(settings, environment="test")
    assert build_ports(trial, clock=clock, meter_models=meter_models()).payment_channel(
        7, credential
    )
