"""Run by path as `python -I -S leash.py`: drop rights, tie own life to the parent's, become a server.

It is a program of its own and not a `preexec_fn`, which may dead-lock in a process with threads.
It imports the standard library only, for it runs before any package path is set.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE)


def main(arguments: list[str]) -> None:
    """Take `parent-pid death-signal uid gid command...` (uid -1: stay) and exec the command.

    Raises OSError when a step is refused; exits with 1 when the parent has already ended.
    """
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    # A shell that started the owner with `&` or nohup leaves signals ignored, and exec keeps that.
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if sys.platform == "linux":
        # After setuid, which clears it. Elsewhere only an orderly stop ends the server.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the line above: no signal will come
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
