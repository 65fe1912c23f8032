"""Acrel's private function 20h: the sale write of a prepaid meter, as pymodbus PDUs.

Evidence grade: unverified ([T] in reference/meter-protocols.md section 5.3: a vendor tool seen
decompiled, no vendor text, no capture). What that source shows:

- the request has the shape of function 10h: address 2, count 2, byte count 1, registers, CRC 2;
- the answer to every 20h write, however long, is read as 15 bytes of which only the CRC is looked at.

So an answer is 15 bytes and its eleven body bytes are opaque here: nothing may be believed from
them, the wallet is read back (C10). Our virtual meter fills them as byte count 0Ah, the address,
the four registers it took; a real meter may well fill them otherwise.
"""

from __future__ import annotations

import struct

from pymodbus.pdu import ModbusPDU

SALE_FUNCTION = 0x20
SALE_ANSWER_SIZE = 15  # unit 1, function 1, body 11, CRC 2


class PrivateWriteRequest(ModbusPDU):
    """Function 20h request: `address` and `registers` (16-bit values), laid out as function 10h."""

    function_code = SALE_FUNCTION
    rtu_byte_count_pos = 6

    def encode(self) -> bytes:
        """Address, count, byte count, registers."""
        count = len(self.registers)
        return struct.pack(f">HHB{count}H", self.address, count, count * 2, *self.registers)

    def decode(self, data: bytes) -> None:
        """Read back what `encode` wrote. Raises ValueError when the counts disagree."""
        self.address, self.count, size = struct.unpack_from(">HHB", data)
        if size != self.count * 2 or len(data) != 5 + size:
            raise ValueError("byte count does not fit the register count")
        self.registers = list(struct.unpack_from(f">{self.count}H", data, 5))


class PrivateWriteAnswer(ModbusPDU):
    """Function 20h answer: `body` is eleven opaque bytes (see the module's words on evidence)."""

    function_code = SALE_FUNCTION
    rtu_frame_size = SALE_ANSWER_SIZE
    body: bytes = bytes(11)

    @classmethod
    def taking(cls, request: PrivateWriteRequest) -> PrivateWriteAnswer:
        """The answer our virtual meter gives to a four-register `request` that it took."""
        answer = cls(dev_id=request.dev_id)
        answer.body = struct.pack(">BH4H", 10, request.address, *request.registers)
        return answer

    def encode(self) -> bytes:
        """The eleven body bytes. Raises ValueError for another length."""
        if len(self.body) != 11:
            raise ValueError("the body of a private write answer is 11 bytes")
        return self.body

    def decode(self, data: bytes) -> None:
        """Keep the body as it came."""
        self.body = bytes(data)
