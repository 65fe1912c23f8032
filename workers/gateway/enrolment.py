"""Make this box known to the cloud: one code, used once, brings its key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.kernel.errors import Conflict, DomainError
from backend.uplink.enrol import GatewayEnrolment
from backend.uplink.rotation import GatewayKeys
from workers.links.mqtt import Broker, MqttLine

from .identity import Identity, IdentityFile
from .lock import alone_in


class DataFolder(DomainError):
    """The data folder cannot be made or written."""

    code = "DATA_FOLDER"


async def enrol(
    *, cloud: str, code: str, serial: str, data: Path, again: bool, timeout_s: float = 30.0
) -> Identity:
    """Enrol this box by the claim `code` at the broker `cloud` (mqtt:// or mqtts:// URL) and keep the
    keys in the folder `data`. `again`: in place of the keys that are there; readings not yet sent stay.

    Everything that can fail here is tried before the code is spent. Raises Conflict (enrolled already,
    or an agent runs), InvalidInput (the URL), ClaimRefused, LinkDown, NoAnswer, HandshakeForged,
    FrameMalformed, DataFolder.
    """
    broker = Broker.of(cloud)
    claim = GatewayEnrolment(code=code, serial=serial)
    with _folder(data, again=again) as file:
        async with MqttLine(broker) as line:
            answer = await line.enrol(claim.request, timeout_s=timeout_s)
        key, root = claim.finish(answer)
        identity = Identity(serial, cloud, GatewayKeys(key.gateway, key.version, root))
        file.save(identity)
    return identity


@contextmanager
def _folder(data: Path, *, again: bool) -> Iterator[IdentityFile]:
    """The data folder, made, held and tried. Raises Conflict, DataFolder."""
    file = IdentityFile(data)
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone_in(data):
            if file.exists and not again:
                raise Conflict("this box is enrolled already; --again enrols it anew")
            file.try_save()
            yield file
    except OSError as failure:
        raise DataFolder(f"{data} cannot be written: {failure.strerror}") from failure
