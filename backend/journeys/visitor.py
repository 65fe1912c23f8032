"""Who opened a pay page: an openid that the official account's OAuth proved, kept in a sealed cookie."""

from __future__ import annotations

import base64
import binascii

from backend.kernel.secrets import SealBroken, SecretBox

COOKIE = "shuidian_visitor"


def seal_visitor(box: SecretBox, *, group_id: int, openid: str) -> str:
    """The cookie's value: encrypted, and good for this group only."""
    sealed = box.seal({"openid": openid}, place=f"visitor/{group_id}")
    return base64.urlsafe_b64encode(sealed).decode()


def visitor_openid(box: SecretBox, *, group_id: int, cookie: str | None) -> str | None:
    """The openid in the cookie, or None when there is none, or it is not ours or not this group's."""
    if not cookie:
        return None
    try:
        sealed = base64.urlsafe_b64decode(cookie.encode())
        return box.open(sealed, place=f"visitor/{group_id}")["openid"]
    except (SealBroken, binascii.Error, ValueError):
        return None
