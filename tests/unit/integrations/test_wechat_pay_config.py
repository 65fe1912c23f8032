"""What a WeChat Pay account must bring, and what it never shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.kernel.errors import InvalidInput
from backend.sandbox.pay_keys import new_private_pem, public_pem_of

PEM = new_private_pem()
GOOD = WechatPayConfig(
    mchid="1900000001",
    appid="wx0000000000000001",
    cert_serial_no="5157F09EFDC096DE",
    public_key_id="PUB_KEY_ID_0119000000012024",
    public_key_pem=public_pem_of(PEM),
    notify_url="https://shop.example/notice/1",
    private_key_pem=PEM,
    apiv3_key="k" * 32,
)


def test_secrets_do_not_stand_in_repr() -> None:
    assert "PRIVATE" not in repr(GOOD)
    assert GOOD.apiv3_key not in repr(GOOD)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mchid", "19/1"),
        ("appid", ""),
        ("cert_serial_no", 'X"'),
        ("public_key_id", "5157F09E"),
        ("public_key_id", ""),
        ("public_key_pem", ""),
        ("sub_mchid", "19/1"),
        ("sub_mchid", GOOD.mchid),
        ("apiv3_key", "k" * 16),
        ("private_key_pem", "not a key"),
        ("private_key_pem", public_pem_of(PEM)),
        ("public_key_pem", PEM),
        ("base_url", "http://api.mch.weixin.qq.com"),
        ("base_url", "https://"),
        ("notify_url", "https://shop.example/notice?tenant=1"),
        ("notify_url", "http://shop.example/notice"),
    ],
)
def test_an_unusable_value_is_refused_by_name_without_showing_it(field: str, value: str) -> None:
    changes: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInput) as refused:
        replace(GOOD, **changes)
    assert refused.value.field == field
    assert not value or value not in refused.value.message


def test_the_platform_is_believed_by_its_key_by_its_certificates_or_by_both() -> None:
    certificates = replace(GOOD, public_key_id="", public_key_pem="", certificates=True)
    assert certificates.certificates
    assert replace(GOOD, certificates=True).public_key_id == GOOD.public_key_id
    with pytest.raises(InvalidInput, match="platform_certificates") as refused:
        replace(GOOD, public_key_id="", public_key_pem="")
    assert refused.value.field == "public_key_id"
    with pytest.raises(InvalidInput) as refused:
        replace(certificates, public_key_pem=GOOD.public_key_pem)
    assert refused.value.field == "public_key_id"


def test_a_sub_app_stands_only_beside_its_sub_merchant_and_is_not_the_providers() -> None:
    assert replace(GOOD, sub_mchid="1900000109", sub_appid="wx109").sub_appid == "wx109"
    for changes, field in (
        ({"sub_appid": "wx109"}, "sub_mchid"),
        ({"sub_mchid": "1900000109", "sub_appid": GOOD.appid}, "sub_appid"),
        ({"sub_mchid": "1900000109", "sub_appid": "wx&1"}, "sub_appid"),
    ):
        wanted: dict[str, Any] = dict(changes)
        with pytest.raises(InvalidInput) as refused:
            replace(GOOD, **wanted)
        assert refused.value.field == field
