"""The secrets of one official account's callback, as its owner typed them into WeChat's console."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from wechatpy.crypto import WeChatCrypto

_TOKEN = re.compile(r"[A-Za-z0-9]{3,32}")
_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")
_APP_ID = re.compile(r"[A-Za-z0-9]{6,64}")


@dataclass(frozen=True, slots=True)
class CallbackKeys:
    """Token (3 to 32 letters and digits), EncodingAESKey (43 characters) and AppID of one account.

    Raises ValueError, without the value, for anything WeChat's console would refuse.
    """

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    app_id: str

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.token):
            raise ValueError("the callback token is 3 to 32 letters and digits")
        if not _APP_ID.fullmatch(self.app_id):
            raise ValueError("the AppID is letters and digits")
        try:
            key = base64.b64decode(self.aes_key + "=") if _AES_KEY.fullmatch(self.aes_key) else b""
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise ValueError("the EncodingAESKey is 43 letters and digits")

    def crypto(self) -> WeChatCrypto:
        """wechatpy's cipher of the safe mode."""
        return WeChatCrypto(self.token, self.aes_key, self.app_id)
