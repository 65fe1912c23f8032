"""Connections whose other side vanished without a word: a host without power, a line that was cut.

TCP alone says nothing of it for two hours to whoever waits for an answer, and for a quarter of an hour to
whoever waits for an acknowledgement.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """After `idle_s` of silence ask every `interval_s`; after `count` questions without answer it is gone."""

    idle_s: int
    interval_s: int
    count: int

    @property
    def gone_after_s(self) -> int:
        """For how long a side that vanished is taken for alive."""
        return self.idle_s + self.interval_s * self.count


def keep_alive(transport: asyncio.BaseTransport, how: KeepAlive) -> None:
    """Have the kernel ask whether the other side is there, also while something of ours is not acknowledged.
    What a system does not know of it is left out."""
    plug: socket.socket | None = transport.get_extra_info("socket")
    if plug is None or plug.family not in (socket.AF_INET, socket.AF_INET6):
        return
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", how.idle_s),
        ("TCP_KEEPINTVL", how.interval_s),
        ("TCP_KEEPCNT", how.count),
        ("TCP_USER_TIMEOUT", how.gone_after_s * 1000),
    ):
        if hasattr(socket, name):
            plug.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
