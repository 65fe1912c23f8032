"""A bus behind the inner door, as a link: the same questions, time-outs and late answers as by TCP."""

from __future__ import annotations

from uuid import UUID

from .door import DoorAddress, open_bus
from .line import BusLink, Line, Timing

# A mobile network and a DTU lie between: an answer takes 0.1 to 3 s, and the door may wait for an
# answer owed to somebody before (Limits.owed_s) until it says OK.
DIAL_IN_TIMING = Timing(answer_s=5.0, least_s=2.0, connect_s=10.0, drain_s=0.5, silence_s=0.0)


class DoorLink(BusLink):
    """The bus of a gateway that dials in, by the door of the process that holds its line."""

    def __init__(
        self, door: DoorAddress, gateway_id: UUID, *, timing: Timing = DIAL_IN_TIMING
    ) -> None:
        super().__init__(timing)
        self._door = door
        self._gateway_id = gateway_id

    async def _connect(self) -> Line:
        _, line = await open_bus(
            self._door,
            lambda: Line(None, self._patience, self._timing.silence_s),
            gateway_id=self._gateway_id,
            timeout_s=self._timing.connect_s,
        )
        return line
