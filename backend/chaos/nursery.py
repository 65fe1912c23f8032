"""`python -m backend.chaos.nursery [MODULE...]`: a process that has the product imported, and forks it.

Starting the API or a worker costs seconds of imports. A process that is killed two hundred times within
a minute is therefore forked from one that has them already; what then runs is the product's own command.

Lines of JSON in: `{"log": PATH, "env": {..}, "run": "backend.cli:main", "argv": [..]}`; out, for each, its
`{"pid": N}`. It ends with its standard input, and its children end with it. MODULEs are imported as well.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

_PRODUCT = (
    "backend.asgi",
    "backend.cli",
    "backend.chaos.stand_ins",
    "backend.integrations.aliyun_sms",
    "backend.integrations.alipay",
    "backend.integrations.unionpay",
    "backend.integrations.wechat_message",
    "backend.integrations.wechat_pay",
    "httpcore",
    "tortoise.context",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
    "workers.main",
    "workers.virtual.__main__",
)
_ONCE = ("workers.models:meter_models", "schema.schema:make_schema")  # imported lazily, so to say
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Import, then fork as told until standard input ends."""
    for name in (*_PRODUCT, *sys.argv[1:]):
        importlib.import_module(name)
    for name in _ONCE:
        _named(name)()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children need nobody to wait for them
    _answer({"ready": True})
    for line in sys.stdin:
        _answer({"pid": _fork(json.loads(line))})


def _answer(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _fork(order: dict[str, Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _become(order, parent)
        code = _run(order["run"], order["argv"])
    finally:
        if sys.exc_info()[1] is not None:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)  # never back into the nursery's own loop


def _become(order: dict[str, Any], parent: int) -> None:
    """A session and a log of its own, the signals as a fresh process has them."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["env"])


def _run(target: str, argv: Sequence[str]) -> int:
    sys.argv = [target, *argv]
    code = _named(target)()
    return code if isinstance(code, int) else 0


def _named(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    main()
