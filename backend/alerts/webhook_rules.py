"""A webhook's address and its signature: HMAC-SHA256 over the time and the body. Pure."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from backend.kernel.errors import InvalidInput

SIGNATURE = "X-Shuidian-Signature"
TIMESTAMP = "X-Shuidian-Timestamp"
DELIVERY = "X-Shuidian-Delivery"
_SHORTEST_SECRET = 16
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052


def signature(*, secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC-SHA256 of `timestamp.body`; `timestamp`: seconds since 1970 as sent."""
    told = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={told.hexdigest()}"


def check_webhook(*, url: str, secret: str, local: bool) -> None:
    """Raises InvalidInput unless the address is https (`local`: a sandbox, http too), names a host of the
    public internet where it names it by number, holds no user, and the secret has 16 characters."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    schemes = {"https", "http"} if local else {"https"}
    if parts.scheme not in schemes or not host or port == 0 or "@" in parts.netloc:
        raise InvalidInput("a webhook is an https address without a user", field="url")
    if parts.fragment or any(not "!" <= letter <= "~" for letter in url):
        raise InvalidInput("a webhook's address has no blanks and no fragment", field="url")
    try:
        number = ip_address(host)
    except ValueError:
        number = None
    if not local and (host == "localhost" or (number is not None and not is_public(number))):
        raise InvalidInput("a webhook is not in a private network", field="url")
    if len(secret) < _SHORTEST_SECRET:
        raise InvalidInput("a webhook's secret has at least 16 characters", field="secret")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is of the public internet, also when it is written inside another (::ffff:, 6to4,
    Teredo, NAT64)."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast
