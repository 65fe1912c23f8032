"""An engineer sees which models may be registered and how far each can be trusted."""

from __future__ import annotations

from workers.models import meter_models

from ..world import World
from .edge import Api, operator_token

MODELS = "{ meterModels { name kind protocol holdsMoney switches evidence } }"


async def test_every_shipped_model_is_listed_with_its_grade(
    api: Api, worlds: tuple[World, World]
) -> None:
    data = await api.data(MODELS, token=await operator_token(worlds[0]))
    listed = {model["name"]: model for model in data["meterModels"]}
    assert sorted(listed) == sorted(meter_models())
    assert listed["DDSY1352-NK"] == {
        "name": "DDSY1352-NK",
        "kind": "ELECTRICITY",
        "protocol": "modbus-rtu",
        "holdsMoney": True,
        "switches": True,
        "evidence": "UNVERIFIED",
    }
    assert {model["kind"] for model in listed.values()} == {"ELECTRICITY", "WATER", "HEAT"}


async def test_a_stranger_learns_no_models(api: Api, worlds: tuple[World, World]) -> None:
    answer = (await api.post(MODELS)).json()
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
