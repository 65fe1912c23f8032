"""Posts news to a project's own system: https only, no redirect, no private address (SSRF).

The name is looked up once, the address found is judged, and to that very address the connection is made: a
name that answers otherwise a moment later (DNS rebinding) leads nowhere else. In a sandbox http and private
addresses are allowed.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from backend.alerts.webhook_rules import is_public
from backend.kernel.errors import Unavailable

_CONNECT_S, _READ_S = 3.0, 8.0


class WebhookSender:
    """Implements backend.alerts.ports.WebhookSender. `local`: a sandbox. Blocking calls run in a thread."""

    def __init__(self, *, local: bool) -> None:
        self._local = local

    async def post(self, url: str, /, *, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises Unavailable: no answer, none of 2xx, or an address that may not be called."""
        await asyncio.to_thread(self._post, url, body, dict(headers))

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", parts.hostname or ""
        if not host or not (secure or (self._local and parts.scheme == "http")):
            raise Unavailable("the webhook is no https address")
        port = parts.port or (443 if secure else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = http.client.HTTPConnection(host, port, timeout=_READ_S)
        try:
            connection.sock = self._connect(host, port, secure=secure)
            connection.request("POST", path, body=body, headers=headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"the webhook did not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise Unavailable(f"the webhook answered {status}")

    def _connect(self, host: str, port: int, *, secure: bool) -> socket.socket:
        """A connection to the address that was judged. Raises OSError, Unavailable."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [entry[4] for entry in found]
        if not self._local and not all(is_public(ip_address(each[0])) for each in addresses):
            raise Unavailable("the webhook's name leads into a private network")
        line = _first_to_answer([str(each[0]) for each in addresses], port)
        line.settimeout(_READ_S)
        if not secure:
            return line
        try:
            return _tls().wrap_socket(line, server_hostname=host)
        except OSError:
            line.close()
            raise


def _first_to_answer(addresses: list[str], port: int) -> socket.socket:
    """Raises OSError of the last one."""
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), timeout=_CONNECT_S)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), timeout=_CONNECT_S)


@cache
def _tls() -> ssl.SSLContext:
    """Certificates and names are checked."""
    return ssl.create_default_context()
