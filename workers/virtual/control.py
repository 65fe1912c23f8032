"""A small local HTTP page to look into virtual meters and to switch faults. Never for the network:
it has no rights of its own, so the runner binds it to 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.money import Money

from .bus import BusMeter
from .faults import FAULT_TYPES, SIGNED_FAULTS
from .gateway import GATEWAY_FAULTS, VirtualGateway
from .site import VirtualSite
from .store import Sale

_SALES_SHOWN = 10


def control_app(site: VirtualSite) -> Starlette:
    """GET /gateways, GET /meters, GET /meters/{serial}, POST /meters/{serial}/faults,
    POST /meters/{serial}/mishaps, POST /gateways/{serial}/faults; bodies and answers are JSON,
    errors `{"error": ..}`. A mishap happens once: {"action": "rollover", "left_wh": 100},
    {"action": "replace", "number": "230000000099"}."""

    async def meters(request: Request) -> Response:
        sales = await asyncio.to_thread(site.store.all_sales, limit=_SALES_SHOWN)
        return JSONResponse(
            [_meter_view(m, g, sales.get(m.serial, ())) for m, g in site.meters.values()]
        )

    async def meter(request: Request) -> Response:
        serial = request.path_params["serial"]
        found = site.meters.get(serial)
        if found is None:
            return _absent()
        sales = await asyncio.to_thread(site.store.sales, serial, limit=_SALES_SHOWN)
        return JSONResponse(_meter_view(*found, sales))

    async def meter_faults(request: Request) -> Response:
        found = site.meters.get(request.path_params["serial"])
        if found is None:
            return _absent()
        wanted = _faults(await request.body(), FAULT_TYPES)
        if isinstance(wanted, str):
            return JSONResponse({"error": wanted}, 422)
        for name, value in wanted.items():
            setattr(found[0].faults, name, value)
        found[0].view()  # a drift runs from now on
        return JSONResponse(asdict(found[0].faults))

    async def meter_mishaps(request: Request) -> Response:
        found = site.meters.get(request.path_params["serial"])
        if found is None:
            return _absent()
        wanted = _object(await request.body())
        if isinstance(wanted, str):
            return JSONResponse({"error": wanted}, 422)
        action = str(wanted.pop("action", ""))
        try:
            known = await site.mishap(found[0], action, wanted)
        except (KeyError, TypeError, ValueError) as fault:
            return JSONResponse({"error": f"{action}: {fault!r}"}, 422)
        if not known:
            return JSONResponse({"error": f"{action}: this meter knows no such mishap"}, 422)
        return JSONResponse(_meter_view(*found, ()))

    return Starlette(
        routes=[
            Route("/meters", meters),
            Route("/meters/{serial}", meter),
            Route("/meters/{serial}/faults", meter_faults, methods=["POST"]),
            Route("/meters/{serial}/mishaps", meter_mishaps, methods=["POST"]),
            *_gateway_routes(site),
        ]
    )


def _gateway_routes(site: VirtualSite) -> list[Route]:
    async def gateways(request: Request) -> Response:
        return JSONResponse([_gateway_view(g) for g in site.gateways.values()])

    async def gateway_faults(request: Request) -> Response:
        gateway = site.gateways.get(request.path_params["serial"])
        if gateway is None:
            return _absent()
        wanted = _faults(await request.body(), GATEWAY_FAULTS)
        if isinstance(wanted, str):
            return JSONResponse({"error": wanted}, 422)
        gateway.bus.delay_ms = wanted.get("delay_ms", gateway.bus.delay_ms)
        await gateway.set_offline(bool(wanted.get("offline", gateway.offline)))
        return JSONResponse(_gateway_view(gateway)["faults"])

    return [
        Route("/gateways", gateways),
        Route("/gateways/{serial}/faults", gateway_faults, methods=["POST"]),
    ]


def _absent() -> Response:
    return JSONResponse({"error": "no such serial"}, 404)


def _object(body: bytes) -> dict[str, Any] | str:
    """The JSON object in `body`, or what is wrong with it."""
    try:
        wanted = json.loads(body)
    except ValueError:
        return "the body is not JSON"
    return wanted if isinstance(wanted, dict) else "the body is not an object"


def _faults(body: bytes, known: Mapping[str, type]) -> dict[str, Any] | str:
    """The faults in `body`, or what is wrong with it."""
    wanted = _object(body)
    if isinstance(wanted, str):
        return wanted
    for name, value in wanted.items():
        if name not in known:
            return f"{name}: no such fault; known: {', '.join(known)}"
        if not isinstance(value, int) or type(value) is not known[name]:
            return f"{name}: wants {known[name].__name__}"
        if value < 0 and name not in SIGNED_FAULTS:
            return f"{name}: wants {known[name].__name__}, not below zero"
    return wanted


def _gateway_view(gateway: VirtualGateway) -> dict[str, Any]:
    return {
        "serial": gateway.serial,
        "host": gateway.host,
        "port": gateway.port,
        "meters": [meter.serial for meter in gateway.meters.values()],
        "faults": {"offline": gateway.offline, "delay_ms": gateway.bus.delay_ms},
    }


def _meter_view(meter: BusMeter, gateway: VirtualGateway, sales: Sequence[Sale]) -> dict[str, Any]:
    return meter.view() | {
        "gateway": gateway.serial,
        "sales": [
            {
                "purchase_count": sale.purchase_count,
                "amount": str(Money.of_fen(sale.amount_fen)),
                "at": datetime.fromtimestamp(sale.at, UTC).isoformat(),
            }
            for sale in sales
        ],
        "faults": asdict(meter.faults),
    }
