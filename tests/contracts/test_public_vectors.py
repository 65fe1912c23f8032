"""Known answers from public documents: our verifying code and the SDKs we stand on agree with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from wechatpayv3.utils import aes_decrypt
from wechatpy.crypto import WeChatCrypto
from wechatpy.utils import check_signature

from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.integrations.wechat_pay_wire import SIGNATURE_TYPE, Unverified, require_signature
from backend.kernel.errors import InvalidInput
from backend.sandbox.pay_keys import new_private_pem
from backend.sandbox.sms import rpc_signature

VECTORS: dict[str, dict[str, Any]] = {
    vector["id"]: vector
    for vector in json.loads(
        (Path(__file__).parents[1] / "vectors" / "payment-vectors.json").read_text("utf-8")
    )["vectors"]
}


def test_the_callback_signature_of_wechat() -> None:
    vector = VECTORS["wx-server-signature"]
    token, stamp, nonce = vector["parts"]
    check_signature(token, vector["expected"], stamp, nonce)
    assert vector["expected"]


def test_the_safe_mode_encryption_of_wechat(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = VECTORS["wx-msg-encrypt"]
    crypto = WeChatCrypto(vector["token"], vector["encoding_aes_key"], vector["appid"])
    # The vector fixes the 16 random bytes that open every message.
    monkeypatch.setattr(
        "wechatpy.crypto.base.random_string", lambda length=16: vector["random16"][:length]
    )
    sealed = crypto.encrypt_message(vector["plaintext"], vector["nonce"], vector["timestamp"])
    assert vector["expected_encrypt"] in sealed
    assert vector["expected_msg_signature"] in sealed


def test_the_safe_mode_decryption_of_wechat() -> None:
    vector = VECTORS["wx-msg-decrypt"]
    crypto = WeChatCrypto(vector["token"], vector["encoding_aes_key"], vector["appid"])
    plain = crypto.decrypt_message(
        {"Encrypt": vector["encrypt"]},
        vector["expected_msg_signature"],
        vector["timestamp"],
        vector["nonce"],
    )
    for part in vector["expected_contains"]:
        assert part in plain


def test_the_notice_of_wechat_pay_verifies_and_opens() -> None:
    vector = VECTORS["wxpay-v3-notify"]
    key = load_pem_x509_certificate(vector["platform_cert"].encode()).public_key()
    # The sample is older than the header that names the signature type.
    headers = {**vector["headers"], "Wechatpay-Signature-Type": SIGNATURE_TYPE}
    body = vector["body"].encode()
    serial = headers["Wechatpay-Serial"]
    at = require_signature(headers=headers, body=body, key_of={serial: key}.get)
    assert datetime.fromtimestamp(at, UTC).year == 2021
    resource = json.loads(body)["resource"]
    plain = aes_decrypt(
        nonce=resource["nonce"],
        ciphertext=resource["ciphertext"],
        associated_data=resource["associated_data"],
        apiv3_key=vector["apiv3_key"],
    )
    assert json.loads(plain) == json.loads(vector["expected"])
    with pytest.raises(Unverified):
        require_signature(headers=headers, body=body + b" ", key_of={serial: key}.get)


def test_the_cipher_of_wechat_pay() -> None:
    vector = VECTORS["wxpay-v3-aes"]
    plain = aes_decrypt(
        nonce=vector["nonce"],
        ciphertext=vector["ciphertext"],
        associated_data=vector["associated_data"],
        apiv3_key=vector["apiv3_key"],
    )
    assert plain == vector["expected"]


def test_the_signature_of_aliyun_sms() -> None:
    vector = VECTORS["aliyun-rpc-sms"]
    params = {**vector["params"], "Signature": "is left out"}
    signed = rpc_signature(method=vector["method"], params=params, secret=vector["secret"])
    assert signed == vector["expected"]


@pytest.mark.parametrize("name", ["wxpay-v3-notify", "wxpay-v3-aes"])
def test_a_printed_sample_key_cannot_be_configured(name: str) -> None:
    vector = VECTORS["wxpay-v3-notify"]
    certificate = load_pem_x509_certificate(vector["platform_cert"].encode())
    public = certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidInput) as refused:
        WechatPayConfig(
            mchid="1900000001",
            appid="wx0000000000000001",
            cert_serial_no="5157F09E",
            public_key_id="PUB_KEY_ID_1",
            public_key_pem=public.decode(),
            notify_url="https://shop.example/notice",
            private_key_pem=new_private_pem(),
            apiv3_key=VECTORS[name]["apiv3_key"],
        )
    assert refused.value.field == "apiv3_key"
