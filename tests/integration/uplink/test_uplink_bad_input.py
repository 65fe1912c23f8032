"""What nobody honest sends: refused, told once, and the other gateway notices nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY

from backend.sandbox.embedded.broker import RunningBroker
from backend.uplink.enrol import WRONG_TRIES, GatewayEnrolment
from backend.uplink.errors import ClaimRefused
from backend.uplink.frame import HEADER_SIZE, MAX_FRAME, FrameType
from backend.uplink.keys import KeyName, new_gateway, new_root
from backend.uplink.message import Bye, Farewell, Ping
from backend.uplink.rotation import GatewayKeys
from workers.links.intake import Limits
from workers.links.mqtt import Dropped, MqttLine

from .box import Box, box_at, until
from .conftest import NOON, Site, site_at
from .memory_desk import MemoryDesk
from .raw_client import publish, rude

EVERYTHING = Limits(rate_per_s=1e6, burst=1_000_000, waiting=1_000_000)


def refused() -> float:
    """How many messages of gateways were refused in this process."""
    return REGISTRY.get_sample_value("shuidian_uplink_frames_total", {"outcome": "refused"}) or 0


@contextmanager
def told(
    site: Site, caplog: pytest.LogCaptureFixture, *expected: tuple[str, str]
) -> Iterator[None]:
    """In this block exactly these (gateway, code) are refused, each told once to log and inbox."""
    caplog.clear()
    before = len(site.inbox.refusals)
    with caplog.at_level(logging.WARNING):
        yield
    logged = [
        (fields["gateway"] or "", fields["refusal"])
        for record in caplog.records
        if record.message == "uplink refuses" and (fields := getattr(record, "fields", None))
    ]
    noted = [(who or "", code) for who, code in site.inbox.refusals[before:]]
    assert sorted(logged) == sorted(expected)
    assert sorted(noted) == sorted(expected)


async def say_raw(box: Box, *payloads: bytes) -> None:
    """Send bytes as they are on the gateway's own topic."""
    for start in range(0, len(payloads), 100):
        await asyncio.gather(*map(box.line.send, payloads[start : start + 100]))


async def test_every_single_bit_flip_of_a_frame_is_refused_and_the_frame_itself_is_taken(
    broker: RunningBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with site_at(broker, limits=EVERYTHING) as site:
        box, other = await site.boxes()
        frame = box.sealed(reading := box.read())
        flips = [
            bytes((*frame[:place], frame[place] ^ 1 << bit, *frame[place + 1 :]))
            for place in range(len(frame))
            for bit in range(8)
        ]
        codes = ("FRAME_FORGED", "FRAME_MALFORMED", "KEY_UNKNOWN", "NO_SESSION", "WRONG_SESSION")
        before = refused()
        with told(site, caplog, *(("GW-FIRST", f"UPLINK_{code}") for code in codes)):
            await say_raw(box, *flips)
            await until(lambda: refused() - before == len(flips))
            assert site.inbox.reads == []
            await say_raw(box, frame)
            await asyncio.gather(box.ping(), other.ping())
        assert [read for _, read in site.inbox.reads] == [reading]
        assert len(flips) > 2000


async def test_a_repeated_frame_and_a_repeated_hello_have_no_second_effect(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box = await site.box(site.first, greeted=False)
    hello = await box.hello()
    await box.ping()
    frame = await box.say(box.read())
    with told(
        site,
        caplog,
        ("GW-FIRST", "UPLINK_FRAME_REPLAYED"),
        ("GW-FIRST", "UPLINK_HANDSHAKE_REPLAYED"),
    ):
        await say_raw(box, *[frame, hello] * 20)
        await box.ping()
    assert len(site.inbox.reads) == 1
    await box.ping()


async def test_what_the_cloud_sent_is_refused_when_it_comes_back(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box = await site.box(site.first)
    down: list[bytes] = []
    take = box._take

    async def keep(frame: bytes) -> None:
        down.append(frame)
        await take(frame)

    box._take = keep  # type: ignore[method-assign] # somebody on the wire writes along
    await box.hello()
    await box.ping()
    with told(
        site,
        caplog,
        ("GW-FIRST", "UPLINK_FRAME_MALFORMED"),  # the WELCOME
        ("GW-FIRST", "UPLINK_FRAME_FORGED"),  # sealed for the other direction
    ):
        await say_raw(box, *down * 3)
        await box.ping()
    assert len(down) == 3


async def test_a_frame_moved_to_another_session_header_or_gateway_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box, other = await site.boxes()
    old = box.sealed(box.read())
    await box.greet()
    one, two = box.sealed(box.read()), box.sealed(box.read())
    spliced = one[:HEADER_SIZE] + two[HEADER_SIZE:]
    moved = old[:12] + one[12:20] + old[20:]  # the old frame under the new session's name
    with told(
        site,
        caplog,
        ("GW-FIRST", "UPLINK_NO_SESSION"),
        ("GW-FIRST", "UPLINK_FRAME_FORGED"),
        ("GW-SECOND", "UPLINK_WRONG_SESSION"),
    ):
        await say_raw(box, old, spliced, moved)
        await say_raw(other, one, two)  # genuine, but on the other gateway's topic
        await other.ping()
        assert site.inbox.reads == []
        await say_raw(box, one, two)
        await box.ping()
    assert [row.serial for row, _ in site.inbox.reads] == ["GW-FIRST"] * 2


async def test_a_gateway_cannot_speak_in_the_name_of_another_with_its_own_key(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (key, root), (other, _) = site.first, site.second
    thief = GatewayKeys(other.gateway, 1, root)
    async with MqttLine(site.gate, wire_id=other.gateway) as line:
        box = Box(line, thief, site.clock)
        with told(site, caplog, ("GW-SECOND", "UPLINK_HANDSHAKE_FORGED")):
            for _ in range(10):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(box.hello(), 0.1)
            assert site.desk.asked == 1, "a forged HELLO costs no visit to the database"
    assert key != other
    await (await site.box(site.second)).ping()


async def test_what_only_the_cloud_may_say_is_refused_from_a_genuine_gateway(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box = await site.box(site.first)
    assert box.session is not None
    sealer = box.session._sealer  # a taken gateway does not ask its own code what it may send
    with told(
        site,
        caplog,
        ("GW-FIRST", "UPLINK_WRONG_DIRECTION"),
        ("GW-FIRST", "UPLINK_MESSAGE_REFUSED"),
    ):
        await box.line.send(sealer.seal(FrameType.KEYUP, bytes(34)))
        await box.line.send(sealer.seal(FrameType.READ, b'{"meter": 1.5}'))
        await box.line.send(sealer.seal(FrameType.ALARM, b"\xff" * 300))
        await until(lambda: len(site.inbox.refusals) == 2)
    assert site.inbox.reads == []
    await box.greet()


async def test_a_message_that_breaks_its_schema_does_not_hold_up_what_comes_after_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box = await site.box(site.first)
    assert box.session is not None
    with told(site, caplog, ("GW-FIRST", "UPLINK_MESSAGE_REFUSED")):
        for _ in range(3):
            await box.line.send(box.session.seal(FrameType.READ, b'{"meter": 1.5}', at=NOON))
        await box.say(box.read())
        await box.ping()
    assert len(site.inbox.reads) == 1


async def test_a_revoked_gateway_is_told_cut_and_then_refused_while_the_other_works_on(
    site: Site, caplog: pytest.LogCaptureFixture, record_property: Callable[[str, object], None]
) -> None:
    box, other = await site.boxes()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    site.desk.revoke(box.keys.gateway)
    bye = await asyncio.wait_for(box.goodbyes.get(), 5)
    took_s = loop.time() - begun
    assert bye == Bye(Farewell.REVOKED)
    assert not site.host.is_live(box.keys.gateway)
    assert took_s < 5
    record_property("revocation_ms", round(took_s * 1000, 1))
    with told(site, caplog, ("GW-FIRST", "UPLINK_KEY_REVOKED")):
        for _ in range(5):
            await box.say(box.read())
            await box.say(Ping(NOON))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.hello(), 0.2)
        await other.say(other.read())
        await other.ping()
    assert [row.serial for row, _ in site.inbox.reads] == ["GW-SECOND"]


async def test_a_payload_that_is_longer_than_any_frame_is_dropped_unread(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    box, other = await site.boxes()
    with told(site, caplog, ("GW-FIRST", Dropped.TOO_LONG), ("GW-FIRST", "UPLINK_FRAME_MALFORMED")):
        await say_raw(box, *[bytes(MAX_FRAME + 1)] * 5, bytes(120_000))
        await say_raw(box, bytes(MAX_FRAME))  # may be a frame by its length, but is none
        await asyncio.gather(box.ping(), other.ping())
    assert site.trunk.dropped == {Dropped.TOO_LONG: 6}


async def test_a_gateway_that_nobody_enrolled_reaches_nobody(site: Site) -> None:
    stranger = KeyName(new_gateway(), 1), new_root()
    async with box_at(site.gate, *stranger, site.clock) as box:
        before = refused()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.hello(), 0.3)
        assert refused() == before
    assert site.trunk.dropped == {}


async def test_what_somebody_made_the_broker_retain_is_not_heard(site: Site) -> None:
    box = await site.box(site.first)
    frame = box.sealed(reading := box.read())
    kept = publish(f"up/{box.keys.gateway.hex()}", frame, qos=1, retain=True)
    with rude(site.gate, kept, once=True) as client:
        await asyncio.to_thread(client.done.wait, 10)
        await until(lambda: bool(site.inbox.reads))
    await site.restart_host()
    await until(lambda: site.trunk.dropped == {Dropped.STRAY: 1})
    await box.greet()
    assert [read for _, read in site.inbox.reads] == [reading]


async def test_an_enrolment_from_nobody_is_refused_alike_whatever_is_wrong_with_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    other = await site.box(site.second)
    code = site.desk.claim(group_id=1, serial="GW-NEW", at=NOON)
    elsewhere = MemoryDesk().claim(group_id=9, serial="GW-NEW", at=NOON)
    unknown = GatewayEnrolment(code=elsewhere, serial="GW-NEW").request
    wrong = bytearray(GatewayEnrolment(code=code, serial="GW-NEW").request)
    wrong[-1] ^= 1
    with told(
        site,
        caplog,
        ("", "UPLINK_FRAME_MALFORMED"),
        ("", "UPLINK_CLAIM_REFUSED"),
        ("", "UPLINK_CLAIM_LOCKED"),
        ("", Dropped.TOO_LONG),
    ):
        for request in (b"", b"\x00" * 100, unknown, *[bytes(wrong)] * (WRONG_TRIES + 2)):
            async with MqttLine(site.gate) as line:
                with pytest.raises(ClaimRefused) as refusal:
                    await line.enrol(request)
                assert refusal.value.message == "the cloud refuses the enrolment"
        async with MqttLine(site.gate) as line:
            await line._link.publish(f"enrol/{line._name}", bytes(60_000))
        await other.ping()
        await until(lambda: len(site.inbox.refusals) == 4)


@pytest.mark.parametrize("bell", [True, False])
async def test_a_claimed_gateway_enrols_and_is_heard_at_once(site: Site, bell: bool) -> None:
    """Also when the news of its ring comes late."""
    site.desk.bell = bell
    code = site.desk.claim(group_id=2, serial="GW-NEW", at=NOON)
    enrolment = GatewayEnrolment(code=code, serial="GW-NEW")
    async with MqttLine(site.gate) as line:
        key, root = enrolment.finish(await line.enrol(enrolment.request))
    box = await site.box((key, root))
    await box.say(box.read())
    await box.ping()
    assert [(row.group_id, row.serial) for row, _ in site.inbox.reads] == [(2, "GW-NEW")]
    async with MqttLine(site.gate) as line:
        with pytest.raises(ClaimRefused):
            await line.enrol(enrolment.request)
