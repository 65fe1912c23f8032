"""The profiles that this process knows, as metering knows them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from backend.metering.rules import MeterKind, MeterModel
from workers.profiles.loader import known_profiles


@cache
def meter_models() -> Mapping[str, MeterModel]:
    """Every model that has a profile, by name: a process reads the operator's own before it first asks.
    Raises ProfileError."""
    return {
        profile.model: MeterModel(
            name=profile.model,
            maker=profile.maker,
            kind=MeterKind(profile.kind.upper()),
            phases=profile.phases,
            protocol=profile.protocol,
            holds_money=profile.holds_money,
            switches=profile.switches,
            evidence=profile.evidence,
            taken_back=profile.taken_back,
            price_bands=profile.price_bands,
            closes=profile.closes,
            holds_load_limits=profile.holds_load_limits,
            keeps_calendar=profile.keeps_calendar,
        )
        for profile in known_profiles().values()
    }
