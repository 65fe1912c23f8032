"""A small local HTTP page to look into virtual meters and to switch faults. Never for the network:
it has no rights of its own, so the runner binds it to 127.0.0.1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.money import Money
from backend.kernel.quantity import Quantity, Unit

from .gateway import VirtualGateway
from .load import BANDS
from .meter import FAULT_TYPES, VirtualMeter
from .site import VirtualSite

_GATEWAY_FAULTS: Mapping[str, type] = {"offline": bool, "delay_ms": int}
_WS_PER_WH = 3600


def control_app(site: VirtualSite) -> Starlette:
    """GET /gateways, GET /meters, GET /meters/{serial}, POST /meters/{serial}/faults,
    POST /gateways/{serial}/faults; bodies and answers are JSON, errors `{"error": ..}`."""

    async def gateways(request: Request) -> Response:
        return JSONResponse([_gateway_view(g) for g in site.gateways.values()])

    async def meters(request: Request) -> Response:
        return JSONResponse([await _meter_view(m, g) for m, g in site.meters.values()])

    async def meter(request: Request) -> Response:
        found = site.meters.get(request.path_params["serial"])
        return _absent() if found is None else JSONResponse(await _meter_view(*found))

    async def meter_faults(request: Request) -> Response:
        found = site.meters.get(request.path_params["serial"])
        if found is None:
            return _absent()
        wanted = _faults(await request.body(), FAULT_TYPES)
        if isinstance(wanted, str):
            return JSONResponse({"error": wanted}, 422)
        for name, value in wanted.items():
            setattr(found[0].faults, name, value)
        return JSONResponse(asdict(found[0].faults))

    async def gateway_faults(request: Request) -> Response:
        gateway = site.gateways.get(request.path_params["serial"])
        if gateway is None:
            return _absent()
        wanted = _faults(await request.body(), _GATEWAY_FAULTS)
        if isinstance(wanted, str):
            return JSONResponse({"error": wanted}, 422)
        gateway.faults.delay_ms = wanted.get("delay_ms", gateway.faults.delay_ms)
        await gateway.set_offline(wanted.get("offline", gateway.faults.offline))
        return JSONResponse(asdict(gateway.faults))

    return Starlette(
        routes=[
            Route("/gateways", gateways),
            Route("/meters", meters),
            Route("/meters/{serial}", meter),
            Route("/meters/{serial}/faults", meter_faults, methods=["POST"]),
            Route("/gateways/{serial}/faults", gateway_faults, methods=["POST"]),
        ]
    )


def _absent() -> Response:
    return JSONResponse({"error": "no such serial"}, 404)


def _faults(body: bytes, known: Mapping[str, type]) -> dict[str, Any] | str:
    """The faults in `body`, or what is wrong with it."""
    try:
        wanted = json.loads(body)
    except ValueError:
        return "the body is not JSON"
    if not isinstance(wanted, dict):
        return "the body is not an object"
    for name, value in wanted.items():
        if name not in known:
            return f"{name}: no such fault; known: {', '.join(known)}"
        if not isinstance(value, int) or type(value) is not known[name] or value < 0:
            return f"{name}: wants {known[name].__name__}, not below zero"
    return wanted


def _gateway_view(gateway: VirtualGateway) -> dict[str, Any]:
    return {
        "serial": gateway.serial,
        "host": gateway.host,
        "port": gateway.port,
        "meters": [meter.spec.serial for meter in gateway.meters.values()],
        "faults": asdict(gateway.faults),
    }


async def _meter_view(meter: VirtualMeter, gateway: VirtualGateway) -> dict[str, Any]:
    state = meter.state()
    bands = {name: _kwh(energy) for name, energy in zip(BANDS, state.energy_ws, strict=True)}
    return {
        "serial": meter.spec.serial,
        "gateway": gateway.serial,
        "unit": meter.spec.unit,
        "remaining": str(Money.of_fen(state.remaining_fen)),
        "remaining_fen": state.remaining_fen,
        "purchase_count": state.purchase_count,
        "relay": "CLOSED" if state.closed else "OPEN",
        "forced": state.forced,
        "energy": _kwh(sum(state.energy_ws)),
        "bands": bands,
        "sales": [
            {
                "purchase_count": sale.purchase_count,
                "amount": str(Money.of_fen(sale.amount_fen)),
                "at": datetime.fromtimestamp(sale.at, UTC).isoformat(),
            }
            for sale in await meter.sales()
        ],
        "faults": asdict(meter.faults),
    }


def _kwh(energy_ws: int) -> str:
    return Quantity(energy_ws // _WS_PER_WH, Unit.WATT_HOUR).decimal
