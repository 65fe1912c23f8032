"""What the uplink refuses, each by its own name. `alarmed` says which refusals a person must hear of."""

from __future__ import annotations

from typing import ClassVar

from backend.kernel.errors import DomainError


class UplinkRefused(DomainError):
    """Something that came over the uplink is not taken. Nothing of it has had an effect."""

    code = "UPLINK_REFUSED"
    alarmed: ClassVar[bool] = False


class FrameMalformed(UplinkRefused):
    """Not a frame of this protocol: length, magic, version, suite, mode, type or number."""

    code = "UPLINK_FRAME_MALFORMED"


class FrameForged(UplinkRefused):
    """The tag does not fit: changed on the way, or sealed under another key, session or direction."""

    code = "UPLINK_FRAME_FORGED"
    alarmed = True


class FrameReplayed(UplinkRefused):
    """A genuine frame that was already taken, or is too old to know. A broker may cause it."""

    code = "UPLINK_FRAME_REPLAYED"


class FrameOutOfOrder(UplinkRefused):
    """A genuine frame, but one before it is missing (ordered mode). The session is to be made anew."""

    code = "UPLINK_FRAME_OUT_OF_ORDER"


class WrongDirection(UplinkRefused):
    """A genuine peer sent what only the other side may send, such as a gateway a command."""

    code = "UPLINK_WRONG_DIRECTION"
    alarmed = True


class WrongSession(UplinkRefused):
    """The header names another gateway, key version or session than the session it came to."""

    code = "UPLINK_WRONG_SESSION"


class NoSession(UplinkRefused):
    """No such session is open: the gateway says HELLO again."""

    code = "UPLINK_NO_SESSION"


class SessionSpent(UplinkRefused):
    """The session reached 2^32 frames or 24 hours: only a new handshake helps."""

    code = "UPLINK_SESSION_SPENT"


class GatewayUnknown(UplinkRefused):
    """No gateway of this id was ever enrolled here."""

    code = "UPLINK_GATEWAY_UNKNOWN"


class KeyUnknown(UplinkRefused):
    """A key version that was never given out."""

    code = "UPLINK_KEY_UNKNOWN"


class KeyRetired(UplinkRefused):
    """A key version that a newer one has replaced, or an offer that lapsed."""

    code = "UPLINK_KEY_RETIRED"


class KeyRevoked(UplinkRefused):
    """A revoked key is in use: a stolen gateway, or one that nobody told."""

    code = "UPLINK_KEY_REVOKED"
    alarmed = True


class KeyBlobBroken(UplinkRefused):
    """A stored key does not unwrap: other row, other KEK, or changed bytes."""

    code = "UPLINK_KEY_BLOB_BROKEN"
    alarmed = True


class HandshakeForged(UplinkRefused):
    """A HELLO or WELCOME whose MAC does not fit, or an answer to another HELLO."""

    code = "UPLINK_HANDSHAKE_FORGED"
    alarmed = True


class HandshakeReplayed(UplinkRefused):
    """A HELLO that was already answered."""

    code = "UPLINK_HANDSHAKE_REPLAYED"


class ClockSkew(UplinkRefused):
    """The clocks of the two sides differ by more than 300 s; `skew_ms` is by how much."""

    code = "UPLINK_CLOCK_SKEW"
    alarmed = True

    def __init__(self, message: str, *, skew_ms: int) -> None:
        super().__init__(message)
        self.skew_ms = skew_ms


class ClaimRefused(UplinkRefused):
    """Wrong claim code, wrong serial, or no such claim: the peer is not told which."""

    code = "UPLINK_CLAIM_REFUSED"


class ClaimLocked(UplinkRefused):
    """Five wrong tries: the claim is dead, an operator makes a new one."""

    code = "UPLINK_CLAIM_LOCKED"
    alarmed = True


class ClaimSpent(UplinkRefused):
    """The claim has enrolled a gateway already. A second use is an audit event."""

    code = "UPLINK_CLAIM_SPENT"
    alarmed = True


class ClaimExpired(UplinkRefused):
    """The claim's time is over."""

    code = "UPLINK_CLAIM_EXPIRED"


class MessageRefused(UplinkRefused):
    """An opened payload breaks its schema. It came from a genuine peer: a fault or a taken gateway."""

    code = "UPLINK_MESSAGE_REFUSED"
    alarmed = True


class CommandExpired(UplinkRefused):
    """The command is not valid yet or no longer; it must not be carried out."""

    code = "UPLINK_COMMAND_EXPIRED"


class TripHeld(UplinkRefused):
    """No trip while the clocks differ by more than 60 s: nobody can say whether it is still meant."""

    code = "UPLINK_TRIP_HELD"
