"""A session: both directions sealed under keys of one handshake, for 24 hours or 2^32 frames."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from .errors import SessionSpent, WrongDirection
from .frame import FRAME_LIMIT, FrameType, Mode, Opener, Sealer
from .keys import KeyName, SessionKeys

SESSION_LIFE = timedelta(hours=24)
REKEY_AFTER = timedelta(hours=23)  # an hour of peace to shake hands anew before the hard end
REKEY_FRAMES_LEFT = 2**20


class Side(StrEnum):
    """Who holds this end of the session."""

    GATEWAY = "gateway"
    CLOUD = "cloud"


_MAY_SEND = {
    Side.GATEWAY: frozenset(FrameType) - {FrameType.CMD, FrameType.KEYUP},
    Side.CLOUD: frozenset({FrameType.CMD, FrameType.KEYUP, FrameType.PING, FrameType.BYE}),
}
_PEER = {Side.GATEWAY: Side.CLOUD, Side.CLOUD: Side.GATEWAY}


class Session:
    """One end. Made by a handshake only; kept in memory only, so a restart means a new handshake
    and fresh keys, and no nonce can come twice."""

    def __init__(
        self,
        *,
        side: Side,
        key: KeyName,
        session: bytes,
        keys: SessionKeys,
        mode: Mode,
        opened_at: datetime,
        trips_allowed: bool,
        limit: int = FRAME_LIMIT,
    ) -> None:
        sending, receiving = (keys.up, keys.down) if side is Side.GATEWAY else (keys.down, keys.up)
        self.side = side
        self.key = key
        self.session = session
        self.opened_at = opened_at
        self.trips_allowed = trips_allowed
        self._limit = min(limit, FRAME_LIMIT)
        self._sealer = Sealer(keys=sending, key=key, session=session, mode=mode, limit=limit)
        self._opener = Opener(keys=receiving, key=key, session=session, mode=mode)

    def seal(self, kind: FrameType, plain: bytes, *, at: datetime) -> bytes:
        """The next frame to send. Raises WrongDirection (not ours to send), SessionSpent,
        FrameMalformed (too long)."""
        self._refuse_old(at)
        if kind not in _MAY_SEND[self.side]:
            raise WrongDirection(f"{kind.name} is not sent by the {self.side}")
        return self._sealer.seal(kind, plain)

    def open(self, frame: bytes, *, at: datetime) -> tuple[FrameType, bytes]:
        """Type and payload of a frame of the peer. Raises SessionSpent, WrongDirection and what
        `Opener.open` raises."""
        self._refuse_old(at)
        kind, plain = self._opener.open(frame)
        if kind not in _MAY_SEND[_PEER[self.side]]:
            raise WrongDirection(f"{kind.name} is not for the {_PEER[self.side]} to send")
        return kind, plain

    def rekey_due(self, *, at: datetime) -> bool:
        """Whether the gateway should shake hands anew now: 23 hours, or few numbers left."""
        few_left = self._limit - self._sealer.sealed <= REKEY_FRAMES_LEFT
        return few_left or at - self.opened_at >= REKEY_AFTER

    def over(self, *, at: datetime) -> bool:
        """Whether its 24 hours are past."""
        return at - self.opened_at >= SESSION_LIFE

    def _refuse_old(self, at: datetime) -> None:
        if self.over(at=at):
            raise SessionSpent("the session is older than 24 hours")
