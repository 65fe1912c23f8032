"""What every provider call over `requests` keeps: time-outs, no redirects, no surprises by environment."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from backend.kernel.errors import InvalidInput

CONNECT_S = 3.0
READ_S = 8.0


class BoundedSession(requests.Session):
    """A session whose calls always end: connect 3 s, read 8 s, no redirect is followed.

    The environment is not trusted: a `.netrc` entry would silently replace the Authorization
    header that carries our signature.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = 0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send with the time-outs of this module. Raises requests.RequestException."""
        kwargs["allow_redirects"] = False
        if not kwargs.get("timeout"):
            kwargs["timeout"] = (CONNECT_S, READ_S)
        return super().send(request, **kwargs)


def checked_base_url(url: str, *, allow_http: bool, field: str) -> str:
    """`url` without trailing slash. Raises InvalidInput unless https (or http when allowed)."""
    parts = urlsplit(url)
    schemes = {"https", "http"} if allow_http else {"https"}
    if parts.scheme not in schemes or not parts.netloc or parts.query or parts.fragment:
        raise InvalidInput(f"{field} must be an https address without query", field=field)
    return url.rstrip("/")
