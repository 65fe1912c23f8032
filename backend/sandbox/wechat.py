"""A stand-in for the WeChat platform: token, messages, OAuth, and callbacks with real encryption.

Loopback only: /control speaks for any user.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.faults import Faults
from backend.sandbox.wechat_callback import Said, deliver, plain_xml, verify_url
from backend.sandbox.wechat_world import CODE_LIFE, Account, Code, World

USERS = ("o-sandbox-zhang", "o-sandbox-li", "o-sandbox-visitor")
FAULTS = ("busy", "bad_token", "http_500", "snapshot_user", "bad_signature", "broken_encrypt")
_COOKIE = "sandbox_openid"


def wechat_app(*, clock: Clock) -> Starlette:
    """The stand-in as an ASGI application; its state lives in memory."""
    world, faults = World(), Faults(*FAULTS)
    api = _Api(world=world, faults=faults, clock=clock)
    controls = _Controls(world=world, faults=faults, clock=clock)
    return Starlette(routes=[*api.routes(), *controls.routes()])


class _Api:
    """What an account's server and a visitor's browser call."""

    def __init__(self, *, world: World, faults: Faults, clock: Clock) -> None:
        self._world, self._faults, self._clock = world, faults, clock

    def routes(self) -> list[Route]:
        send = "/cgi-bin/message/"
        return [
            Route("/cgi-bin/stable_token", control(self._token), methods=["POST"]),
            Route(send + "custom/send", control(self._custom), methods=["POST"]),
            Route(send + "template/send", control(self._template), methods=["POST"]),
            Route("/cgi-bin/menu/create", control(self._menu), methods=["POST"]),
            Route("/connect/oauth2/authorize", self._authorize),
            Route("/sns/oauth2/access_token", self._exchange),
        ]

    async def _token(self, request: Request) -> Response:
        body = await json_object(request)
        account = self._world.accounts.get(str(body.get("appid")))
        if account is None:
            return _error(40013, "invalid appid")
        if body.get("secret") != account.secret:
            return _error(40125, "invalid appsecret")
        if body.get("grant_type") != "client_credential":
            return _error(40002, "invalid grant_type")
        force = body.get("force_refresh") is True
        token, left = self._world.token(account, at=self._clock.now(), force=force)
        return JSONResponse({"access_token": token, "expires_in": left})

    def _caller(self, request: Request) -> Account | Response:
        """The account that calls, or the error it gets."""
        if self._faults.take("http_500"):
            return Response("busy", 500)
        if self._faults.take("busy"):
            return _error(-1, "system error")
        token = request.query_params.get("access_token", "")
        account = self._world.account_of_token(token, at=self._clock.now())
        if account is None or self._faults.take("bad_token"):
            return _error(40001, "invalid credential, access_token is invalid or not latest")
        return account

    async def _custom(self, request: Request) -> Response:
        account = self._caller(request)
        if isinstance(account, Response):
            return account
        body, now = await json_object(request), self._clock.now()
        openid = text_of(body, "touser")
        person = self._world.people.get((account.appid, openid))
        if person is None or not person.subscribed or person.window is None or person.window <= now:
            return _error(45015, "response out of time limit or subscription is canceled")
        if person.left == 0:
            return _error(45047, "out of response count limit")
        person.left -= 1
        content = body.get("text", {}).get("content") if body.get("msgtype") == "text" else None
        self._put(account, openid, {"kind": "custom", "text": content, "body": body})
        return JSONResponse({"errcode": 0, "errmsg": "ok"})

    async def _template(self, request: Request) -> Response:
        account = self._caller(request)
        if isinstance(account, Response):
            return account
        body = await json_object(request)
        openid = text_of(body, "touser")
        person = self._world.people.get((account.appid, openid))
        if person is None or not person.subscribed:
            return _error(43004, "require subscribe")
        if not isinstance(body.get("template_id"), str) or not body["template_id"]:
            return _error(40037, "invalid template_id")
        key = str(body.get("client_msg_id", ""))
        number, new = self._world.first_id(
            appid=account.appid, openid=openid, key=key, at=self._clock.now()
        )
        if new:
            self._put(account, openid, {"kind": "template", "body": body, "msgid": number})
        return JSONResponse({"errcode": 0, "errmsg": "ok", "msgid": number})

    async def _menu(self, request: Request) -> Response:
        """Keep the menu, with the platform's own limits: 3 buttons of 5, names of 4 and 8 characters."""
        account = self._caller(request)
        if isinstance(account, Response):
            return account
        buttons = (await json_object(request)).get("button")
        if not isinstance(buttons, list) or not 1 <= len(buttons) <= 3:
            return _error(40016, "invalid button size")
        for button in buttons:
            if len(str(button.get("name", ""))) > 4 or len(button.get("sub_button", [])) > 5:
                return _error(40018, "invalid button name size")
        account.menu = buttons
        return JSONResponse({"errcode": 0, "errmsg": "ok"})

    def _put(self, account: Account, openid: str, message: dict[str, Any]) -> None:
        """Into the person's phone."""
        at = self._clock.now().isoformat()
        person = self._world.person(appid=account.appid, openid=openid)
        person.inbox.append(message | {"at": at})

    async def _authorize(self, request: Request) -> Response:
        """Back to the caller with a code for the user of `?as=` or the cookie, else ask who."""
        query = dict(request.query_params)
        back = query.get("redirect_uri", "")
        if query.get("appid") not in self._world.accounts or urlsplit(back).scheme not in (
            "http",
            "https",
        ):
            return HTMLResponse("<h1>redirect_uri 参数错误</h1>", 400)
        openid = query.get("as") or request.cookies.get(_COOKIE)
        if not openid:
            return HTMLResponse(_who(query))
        code = secrets.token_urlsafe(24)
        self._world.codes[code] = Code(
            appid=query["appid"],
            openid=openid,
            until=self._clock.now() + CODE_LIFE,
            snapshot=self._faults.take("snapshot_user"),
        )
        values = urlencode({"code": code, "state": query.get("state", "")})
        answer = RedirectResponse(f"{back}{'&' if '?' in back else '?'}{values}", 302)
        answer.set_cookie(_COOKIE, openid, httponly=True, samesite="lax")
        return answer

    async def _exchange(self, request: Request) -> Response:
        query = request.query_params
        account = self._world.accounts.get(query.get("appid", ""))
        if account is None or query.get("secret") != account.secret:
            return _error(40125, "invalid appsecret")
        text = query.get("code", "")
        if text in self._world.used_codes:
            return _error(40163, "code been used")
        code = self._world.codes.pop(text, None)
        if code is None or code.appid != account.appid or code.until <= self._clock.now():
            return _error(40029, "invalid code")
        self._world.used_codes.add(text)
        answer: dict[str, Any] = {
            "access_token": secrets.token_urlsafe(48),
            "expires_in": 7200,
            "refresh_token": secrets.token_urlsafe(48),
            "openid": code.openid,
            "scope": "snsapi_base",
        }
        return JSONResponse(answer | ({"is_snapshotuser": 1} if code.snapshot else {}))


class _Controls:
    """What a test, the demo or a developer turns: accounts, what users do, inboxes, faults."""

    def __init__(self, *, world: World, faults: Faults, clock: Clock) -> None:
        self._world, self._faults, self._clock = world, faults, clock

    def routes(self) -> list[Route]:
        return [
            Route("/control/apps", control(self._apps), methods=["POST"]),
            Route("/control/users", control(self._users), methods=["POST"]),
            Route("/control/say", control(self._say), methods=["POST"]),
            Route("/control/verify", control(self._verify), methods=["POST"]),
            Route("/control/tokens/revoke", control(self._revoke), methods=["POST"]),
            Route("/control/stats", control(self._stats)),
            Route("/control/inbox", control(self._inbox)),
            Route("/control/menu", control(self._menu)),
            Route("/control/faults", control(self._set_faults), methods=["POST"]),
        ]

    async def _apps(self, request: Request) -> Response:
        body = await json_object(request)
        account = Account(
            appid=text_of(body, "appid"),
            secret=text_of(body, "secret"),
            token=text_of(body, "token"),
            aes_key=text_of(body, "aes_key"),
            callback_url=text_of(body, "callback_url"),
        )
        if len(account.aes_key) != 43:
            raise InvalidInput("an AES key has 43 characters", field="aes_key")
        self._world.accounts[account.appid] = account
        return JSONResponse({"appid": account.appid})

    async def _users(self, request: Request) -> Response:
        """Set whether somebody follows the account, without telling the callback."""
        body = await json_object(request)
        account = self._world.account(body.get("appid"))
        person = self._world.person(appid=account.appid, openid=text_of(body, "openid"))
        person.subscribed = bool(body.get("subscribed", True))
        return JSONResponse({"subscribed": person.subscribed})

    async def _say(self, request: Request) -> Response:
        """A user writes (`text`) or does something (`event`, `event_key`); returns the reply."""
        body, now = await json_object(request), self._clock.now()
        account = self._world.account(body.get("appid"))
        event = text_of(body, "event") if body.get("event") is not None else None
        number = body.get("msg_id")
        said = Said(
            openid=text_of(body, "openid"),
            text="" if event else text_of(body, "text"),
            event=event,
            event_key=str(body.get("event_key", "")),
            message_id=number if isinstance(number, int) else self._world.next_id(),
        )
        self._world.heard(appid=account.appid, openid=said.openid, at=now, event=event)
        heard = await deliver(
            account=account,
            xml=plain_xml(account=account, said=said, at=now),
            at=now,
            bad_signature=self._faults.take("bad_signature"),
            broken=self._faults.take("broken_encrypt"),
        )
        if heard.reply is not None:
            inbox = self._world.person(appid=account.appid, openid=said.openid).inbox
            inbox.append({"kind": "reply", "text": heard.reply, "at": now.isoformat()})
        return JSONResponse(
            {
                "status": heard.status,
                "reply": heard.reply,
                "xml": heard.xml,
                "msg_id": said.message_id,
            }
        )

    async def _verify(self, request: Request) -> Response:
        account = self._world.account((await json_object(request)).get("appid"))
        return JSONResponse({"ok": await verify_url(account=account, at=self._clock.now())})

    async def _revoke(self, request: Request) -> Response:
        """The platform forgets the token: the next call with it gets 40001."""
        account = self._world.account((await json_object(request)).get("appid"))
        account.token_until = None
        return JSONResponse({"appid": account.appid})

    async def _stats(self, request: Request) -> Response:
        fetches = {name: account.fetches for name, account in self._world.accounts.items()}
        return JSONResponse({"token_fetches": fetches})

    async def _menu(self, request: Request) -> Response:
        """The menu a follower sees."""
        account = self._world.account(request.query_params.get("appid"))
        return JSONResponse({"button": account.menu})

    async def _inbox(self, request: Request) -> Response:
        account = self._world.account(request.query_params.get("appid"))
        openid = request.query_params.get("openid", "")
        person = self._world.people.get((account.appid, openid))
        return JSONResponse({"messages": person.inbox if person else []})

    async def _set_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.set(await json_object(request)))


def _error(code: int, message: str) -> Response:
    """An API error: HTTP 200 with an errcode, as the platform does."""
    return JSONResponse({"errcode": code, "errmsg": message})


def _who(query: dict[str, str]) -> str:
    """The page that asks which test user the browser is."""
    links = "".join(
        f'<p><a href="?{escape(urlencode(query | {"as": user}))}">{escape(user)}</a></p>'
        for user in USERS
    )
    return (
        '<!doctype html><html lang="zh-CN"><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width,initial-scale=1"><title>微信登录（模拟）</title>'
        '<body style="font:18px/1.8 system-ui;max-width:24rem;margin:2rem auto;padding:0 1rem">'
        f"<h1>以谁的身份进入？</h1>{links}</body></html>"
    )
