"""Meter models that have a profile, and how far each can be trusted."""

from __future__ import annotations

from enum import Enum

import strawberry

from backend.metering.rules import MeterModel as Model

from .context import Info
from .resolvers import field


@strawberry.enum(description="What flows through a meter.")
class MeterKind(Enum):
    """电、水、热."""

    ELECTRICITY = "ELECTRICITY"
    WATER = "WATER"
    HEAT = "HEAT"


@strawberry.enum(description="How far the facts of a model can be trusted.")
class Evidence(Enum):
    """证据等级."""

    VENDOR_DOCUMENT = strawberry.enum_value(
        "vendor-document", description="The maker's own document says so."
    )
    FIELD_TESTED = strawberry.enum_value(
        "field-tested", description="It was tried on a real meter."
    )
    UNVERIFIED = strawberry.enum_value(
        "unverified", description="Try it on a real meter before power is sold with it."
    )


@strawberry.type(description="A meter model that can be registered.")
class MeterModel:
    """表型."""

    name: str
    maker: str
    kind: MeterKind
    phases: int
    protocol: str
    holds_money: bool = strawberry.field(description="It keeps its own money and can be sold to.")
    switches: bool = strawberry.field(description="Its relay or valve obeys commands.")
    evidence: Evidence = strawberry.field(description="The weakest grade of its parts.")


def model_of(model: Model) -> MeterModel:
    """A model as the schema shows it."""
    return MeterModel(
        name=model.name,
        maker=model.maker,
        kind=MeterKind(model.kind),
        phases=model.phases,
        protocol=model.protocol,
        holds_money=model.holds_money,
        switches=model.switches,
        evidence=Evidence(model.evidence),
    )


@strawberry.type
class ModelQueries:
    """Reads."""

    @field(description="The models that `addMeter` takes, by name.")
    async def meter_models(self, info: Info) -> list[MeterModel]:
        """All of them, for every operator: a model is nobody's secret. Raises Unauthenticated."""
        info.context.caller()
        models = info.context.ports.meter_models
        return [model_of(models[name]) for name in sorted(models)]
