"""CPU time that this process and PostgreSQL spend: it hardly moves when the machine is shared, seconds do."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def median_cpu(used: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The medians of `Cpu.each` by side."""
    sides = zip(("client", "server"), zip(*used, strict=True), strict=True)
    return {name: round(statistics.median(each), 1) for name, each in sides}


class Cpu:
    """What is spent from here on, in seconds, by this process and by a PostgreSQL with all its backends."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = postmaster
        self._client, self._server = time.process_time(), self._of_server()

    def each(self, times: int) -> tuple[float, float]:
        """Microseconds of client and of server for each of so many `times`."""
        client = time.process_time() - self._client
        server = self._of_server() - self._server
        return client / times * 1e6, server / times * 1e6

    def _of_server(self) -> float:
        """Seconds of the postmaster, its children, and those that ended."""
        ticks = 0
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rsplit(") ", 1)[1].split()
            except OSError:  # it ended meanwhile
                continue
            if int(place.parent.name) == self._postmaster:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self._postmaster:
                ticks += sum(map(int, fields[11:13]))
        return ticks / _TICKS
