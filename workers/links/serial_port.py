"""The port of a serial line: how it is set, and how it is taken so that nobody else speaks on it.

What goes wrong here is read by a field engineer with a laptop: each reason says what to look at.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import re
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISCHR
from typing import Literal

from .errors import LinkDown

Parity = Literal["none", "even", "odd"]

SPEEDS = {
    1200: termios.B1200,
    2400: termios.B2400,
    4800: termios.B4800,
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
}
PARITIES: dict[Parity, int] = {
    "none": 0,
    "even": termios.PARENB,
    "odd": termios.PARENB | termios.PARODD,
}
# What a name under /dev may lead to in the end: other devices do things when they are merely opened.
_PORT = re.compile(r"/dev/(tty[A-Za-z]\w*|pts/\d+)")
_PSEUDO = range(
    136, 144
)  # major numbers of pseudo terminals: no wire, so no parity and no stop bits
_WIRE_FLAGS = termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB
_FAST_SILENCE_S = 0.00175  # Modbus over serial line V1.02, 2.5.1.1: fixed above 19200 baud


@dataclass(frozen=True, slots=True)
class SerialPort:
    """Where a line is plugged in and how its meters are set: one start bit, eight data bits, `parity`,
    `stop_bits` 1 or 2, at `baud` (a key of SPEEDS). `echo`: the adapter gives back what is sent."""

    device: str
    baud: int
    parity: Parity
    stop_bits: int = 1
    echo: bool = False

    @property
    def character_s(self) -> float:
        """How long one character takes on the wire."""
        return (1 + 8 + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """The silence between two RTU frames: 3.5 characters, and 1.75 ms above 19200 baud."""
        return _FAST_SILENCE_S if self.baud > 19200 else 3.5 * self.character_s


def open_port(port: SerialPort) -> int:
    """Take `port` for this process alone, set it, throw away what waits in it; its descriptor, which
    never blocks. May itself take a while: a USB adapter is asked. Raises LinkDown."""
    path = os.path.realpath(port.device)
    if not Path(path).exists():
        raise LinkDown(_why(port, path, FileNotFoundError(errno.ENOENT, "")))
    if not _PORT.fullmatch(path):
        found = "is" if path == port.device else f"leads to {path}, which is"
        raise LinkDown(f"{port.device} {found} no serial port; one such as /dev/ttyUSB0 is wanted")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failure:
        raise LinkDown(_why(port, path, failure)) from failure
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # among agents: root as well
        fcntl.ioctl(descriptor, termios.TIOCEXCL)  # against whoever does not ask for locks
        _set(descriptor, port)
    except (OSError, termios.error) as failure:
        close_port(descriptor)
        raise LinkDown(_why(port, path, failure)) from failure
    except LinkDown:
        close_port(descriptor)
        raise
    return descriptor


def close_port(descriptor: int) -> None:
    """Give the port back. What was not sent yet is not sent: the kernel would wait for it."""
    for leave in (
        lambda: termios.tcflush(descriptor, termios.TCIOFLUSH),
        lambda: fcntl.ioctl(descriptor, termios.TIOCNXCL),
        lambda: os.close(descriptor),
    ):
        with suppress(OSError, termios.error):  # it was pulled out: there is nothing to give back
            leave()


def control_flags(port: SerialPort) -> int:
    """The c_cflag of `port` (termios(3)): no flow control, no modem lines, none dropped when it is closed."""
    stops = termios.CSTOPB if port.stop_bits == 2 else 0
    return termios.CS8 | PARITIES[port.parity] | stops | termios.CREAD | termios.CLOCAL


def _set(descriptor: int, port: SerialPort) -> None:
    """Raw bytes at this speed. Raises OSError, termios.error, LinkDown."""
    # A character that breaks the parity is dropped: its frame is cut, and never half believed.
    checks = termios.IGNPAR | (termios.INPCK if port.parity != "none" else 0)
    wanted, speed = control_flags(port), SPEEDS[port.baud]
    if os.major(os.fstat(descriptor).st_rdev) in _PSEUDO:
        wanted &= ~(termios.PARENB | termios.PARODD)
    characters = termios.tcgetattr(descriptor)[6]
    # One byte at least, and no time: a read without bytes then fails, and only a lost port gives none.
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    state = [termios.IGNBRK | checks, 0, wanted, 0, speed, speed, characters]
    termios.tcsetattr(descriptor, termios.TCSANOW, state)
    _, _, flags, _, _, got, _ = termios.tcgetattr(descriptor)
    if got != speed or flags & _WIRE_FLAGS != wanted & _WIRE_FLAGS:
        raise LinkDown(_unsettable(port))
    termios.tcflush(descriptor, termios.TCIOFLUSH)


def _unsettable(port: SerialPort) -> str:
    how = f"{port.baud} baud, 8 data bits, parity {port.parity}, stop bits {port.stop_bits}"
    return f"{port.device} cannot be set to {how}: its driver refuses some of it"


def _why(port: SerialPort, path: str, failure: OSError | termios.error) -> str:
    """What to look at, for people."""
    device = port.device
    match failure.args[0]:
        case errno.ENOENT | errno.ENODEV:
            return (
                f"{device} is not there: is the adapter plugged in? (ls -l /dev/ttyUSB* /dev/ttyS*)"
            )
        case errno.EACCES | errno.EPERM:
            return f"{device} may not be opened by this user: {_who_may(path)}"
        case errno.EBUSY | errno.EAGAIN:
            return (
                f"{device} is in use by another program: a line has one speaker, stop the other one"
            )
        case errno.EIO | errno.ENXIO:
            return f"{device} has no working hardware behind it: another port, or plug it in again"
        case errno.EINVAL:
            return _unsettable(port)
        case errno.ENOTTY:
            return f"{device} is no serial port"
    return f"{device} cannot be used: {os.strerror(failure.args[0])}"


def _who_may(path: str) -> str:
    """Which group opens the port, and how to get into it."""
    try:
        status = Path(path).stat()
        if not S_ISCHR(status.st_mode):
            return "it is no device"
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    return f"it belongs to group {group}; add the agent's user (usermod -aG {group} USER), then restart it"
