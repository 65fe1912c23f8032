"""The life account (生活号) of the Alipay stand-in: who follows, which templates there are, what was sent."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.sandbox.alipay_keys import App
from backend.sandbox.answers import control, json_object, text_of


class LifeAccount:
    """Messages by template to followers; `refusal` of a call is a sub code in Alipay's way."""

    def __init__(self) -> None:
        self._followers: set[tuple[str, str]] = set()
        self._templates: set[tuple[str, str]] = set()
        self._messages: list[dict[str, Any]] = []

    def refusal(self, app: App, content: dict[str, Any]) -> str | None:
        """Why a message is not taken. Raises KeyError, TypeError for a content that is none."""
        if (app.app_id, content["template"]["template_id"]) not in self._templates:
            return "TEMPLATE_NOT_EXIST"
        if not isinstance(content["template"]["context"], dict):
            raise TypeError("context")
        if (app.app_id, content["to_user_id"]) not in self._followers:
            return "USER_NOT_FOLLOW"
        return None

    def take(self, app: App, content: dict[str, Any]) -> dict[str, Any]:
        """Keep the message."""
        number = secrets.token_hex(12)
        self._messages.append({"app_id": app.app_id, "msg_id": number, **content})
        return {"msg_id": number}

    def routes(self) -> list[Route]:
        """Control endpoints."""
        return [
            Route("/control/followers", control(self._follow), methods=["POST"]),
            Route("/control/life-templates", control(self._template), methods=["POST"]),
            Route("/control/life-inbox", control(self._inbox)),
        ]

    async def _follow(self, request: Request) -> Response:
        body = await json_object(request)
        self._followers.add((text_of(body, "app_id"), text_of(body, "user_id")))
        return JSONResponse({})

    async def _template(self, request: Request) -> Response:
        body = await json_object(request)
        self._templates.add((text_of(body, "app_id"), text_of(body, "template_id")))
        return JSONResponse({})

    async def _inbox(self, _: Request) -> Response:
        return JSONResponse({"messages": self._messages})
