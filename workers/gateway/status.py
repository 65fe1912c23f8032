"""The agent's state as JSON: written beside its store every few seconds, read by `gateway status`."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .alarms import Alarms
from .board import Board
from .database import FILE as STORE_FILE
from .identity import IdentityFile
from .lock import is_running
from .poll import Poller
from .spool import read_backlog

FILE = "status.json"


@dataclass(frozen=True, slots=True)
class Status:
    """The parts that a running agent shows."""

    data: Path
    board: Board
    poller: Poller
    alarms: Alarms

    def shown(self) -> dict[str, Any]:
        """All of it, ready for JSON; instants are ISO texts in UTC."""
        board, poller = self.board, self.poller
        meters = poller.buses.site.meters
        return {
            "as_of": _text(board.pace.now()),
            "line": {
                "state": board.line,
                "since": _text(board.since),
                "retry_in_s": round(board.retry_s),
                "key_version": board.key_version,
                "trips_allowed": board.trips_allowed,
            },
            "meters": {
                "total": len(meters),
                "silent": [
                    {"meter": serial, "since": _text(health.since), "error": health.error}
                    for serial, health in sorted(poller.health.items())
                    if health.missed
                ],
            },
            "buses": [
                {
                    "bus": bus,
                    "last_sweep": _text(sweep.at),
                    "read": sweep.read,
                    "failed": sweep.failed,
                    "resting": sweep.resting,
                    "down": bool(sweep.down),
                    "error": sweep.down,
                }
                for bus, sweep in sorted(poller.sweeps.items())
            ],
            "readings_lost": poller.dropped,
            "alarms": self.alarms.names(),
            "errors": [
                {"at": _text(remark.at), "text": remark.text, "times": remark.times}
                for remark in board.errors
            ],
        }

    def write(self) -> None:
        """Replace the file. Raises OSError."""
        fresh = self.data / f"{FILE}.new"
        fresh.write_text(json.dumps(self.shown(), ensure_ascii=False), encoding="utf-8")
        fresh.replace(self.data / FILE)


def read_status(data: Path) -> dict[str, Any]:
    """What the agent of the folder `data` last said, with what its store holds now.

    Raises NotFound (not enrolled), Conflict and InvalidInput (the identity file is not right).
    """
    identity = IdentityFile(data).load()
    shown: dict[str, Any] = {
        "serial": identity.serial,
        "gateway": identity.keys.gateway.hex(),
        "running": is_running(data),
    }
    try:
        shown |= json.loads((data / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        shown["as_of"] = None  # it has not run yet
    return shown | _store(data)


def _store(data: Path) -> dict[str, Any]:
    path = data / STORE_FILE
    if not path.exists():
        return {"backlog": 0, "oldest_unsent": None, "readings_dropped": 0, "store_bytes": 0}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (page,) = connection.execute("pragma page_size").fetchone()
            backlog = read_backlog(connection, page_bytes=int(page))
    except sqlite3.Error as broken:
        return {"store_error": str(broken)}
    return {
        "backlog": backlog.readings,
        "oldest_unsent": _text(backlog.oldest),
        "readings_dropped": backlog.dropped,
        "store_bytes": backlog.used_bytes,
    }


def _text(instant: Any) -> str | None:
    return None if instant is None else instant.isoformat(timespec="seconds")
