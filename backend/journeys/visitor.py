"""Who opened a pay page: an id that OAuth proved (the official account's openid inside WeChat, the
collecting app's user inside Alipay), kept in a sealed cookie."""

from __future__ import annotations

import base64
import binascii

from backend.kernel.secrets import SealBroken, SecretBox

COOKIE = "shuidian_visitor"
ALIPAY_COOKIE = "shuidian_alipay"


def seal_visitor(box: SecretBox, *, group_id: int, openid: str, app_id: str = "") -> str:
    """The cookie's value: encrypted, and good for this group only; with an `app_id`, for this Alipay app
    only, since an open id is the app's own."""
    sealed = box.seal({"openid": openid}, place=_place(group_id, app_id))
    return base64.urlsafe_b64encode(sealed).decode()


def visitor_openid(
    box: SecretBox, *, group_id: int, cookie: str | None, app_id: str = ""
) -> str | None:
    """The openid in the cookie, or None when there is none, or it is not ours or not this group's (or
    app's)."""
    if not cookie:
        return None
    try:
        sealed = base64.urlsafe_b64decode(cookie.encode())
        return box.open(sealed, place=_place(group_id, app_id))["openid"]
    except (SealBroken, binascii.Error, ValueError):
        return None


def _place(group_id: int, app_id: str) -> str:
    return f"visitor/{group_id}/{app_id}" if app_id else f"visitor/{group_id}"
