"""A seed is a run: the same blows on the same payments, whatever the machine's speed."""

from __future__ import annotations

from collections import Counter

from backend.chaos.payers import FORGERIES, forged
from backend.chaos.schedule import (
    CHANNELS,
    METER_FAULTS,
    PROCESSES,
    Hit,
    Strike,
    Telling,
    payments,
    strikes,
)

METERS = ("m1", "m2", "m3")
GATEWAYS = ("g1", "g2")
CLOUDS = ("c1", "c2")


def blows(seed: int, kills: int = 200) -> list[Strike]:
    """The strikes of a run of the size that CI runs."""
    return strikes(
        seed=seed,
        kills=kills,
        pg_crashes=3,
        forgeries=60,
        meters=METERS,
        gateways=GATEWAYS,
        clouds=CLOUDS,
    )


def test_the_same_seed_plans_the_same_run_and_another_seed_another() -> None:
    assert blows(7) == blows(7)
    assert blows(7) != blows(8)
    one = payments(seed=7, tenants=30, count=500)
    assert one == payments(seed=7, tenants=30, count=500)
    assert one != payments(seed=8, tenants=30, count=500)


def test_a_run_has_as_many_kills_and_crashes_as_were_asked_for_and_every_kind_of_blow() -> None:
    found = Counter(strike.hit for strike in blows(1))
    assert found[Hit.KILL] == 200
    assert found[Hit.PG_CRASH] == found[Hit.REDIS_FLUSH] == found[Hit.REDIS_RESTART] == 3
    assert found[Hit.FORGE] == 60
    assert set(found) == set(Hit)
    assert {s.target for s in blows(1) if s.hit is Hit.KILL} == set(PROCESSES)
    assert {s.fault for s in blows(1) if s.hit is Hit.METER} == set(METER_FAULTS)


def test_blows_fall_all_along_the_run_in_order_and_a_gateway_comes_back() -> None:
    found = blows(3)
    assert [strike.at for strike in found] == sorted(strike.at for strike in found)
    for tenth in range(10):
        assert any(tenth / 10 <= s.at < (tenth + 1) / 10 for s in found if s.hit is Hit.KILL)
    for gateway in GATEWAYS:
        off = [s.at for s in found if s.hit is Hit.OFFLINE and s.target == gateway]
        on = [s.at for s in found if s.hit is Hit.ONLINE and s.target == gateway]
        assert len(off) == len(on)
        assert all(later > at for at, later in zip(off, on, strict=True))


def test_no_tenant_pays_one_amount_twice_and_notices_come_in_every_way() -> None:
    made = payments(seed=1, tenants=3, count=3000)
    asked = Counter((payment.tenant, payment.amount_fen) for payment in made)
    assert set(asked.values()) == {1}
    assert {payment.telling for payment in made} == set(Telling)
    assert {payment.channel for payment in made} == set(CHANNELS)


def test_every_forgery_differs_from_the_genuine_notice_but_the_one_for_a_foreign_door() -> None:
    headers = {
        "Wechatpay-Signature": "abc=",
        "Wechatpay-Timestamp": "1700000000",
        "Wechatpay-Serial": "PUB_KEY_ID_1",
    }
    body = b'{"original_type": "transaction"}'
    for kind in FORGERIES:
        assert (forged(kind, headers, body) == (headers, body)) is (kind == "foreign")
