"""What the WeChat stand-in knows: accounts, tokens, followers, codes, and every message received."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from backend.kernel.errors import InvalidInput, NotFound

TOKEN_LIFE = timedelta(seconds=7200)
CODE_LIFE = timedelta(minutes=5)
REPEAT = timedelta(minutes=10)


@dataclass(slots=True)
class Account:
    """An official account as its owner entered it in the platform's console."""

    appid: str
    secret: str
    token: str
    aes_key: str
    callback_url: str
    access_token: str = ""
    token_until: datetime | None = None
    menu: list[dict[str, Any]] = field(default_factory=list)
    fetches: dict[str, int] = field(default_factory=lambda: {"plain": 0, "forced": 0})


@dataclass(slots=True)
class Follower:
    """One person towards one account. `window` is how long, `left` how many chat texts may come."""

    subscribed: bool = False
    window: datetime | None = None
    left: int = 0
    inbox: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Code:
    """An OAuth code: whose, for which account, until when."""

    appid: str
    openid: str
    until: datetime
    snapshot: bool


class World:
    """The state of the stand-in, in memory."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.people: dict[tuple[str, str], Follower] = {}
        self.codes: dict[str, Code] = {}
        self.used_codes: set[str] = set()
        self._sent: dict[tuple[str, str, str], tuple[int, datetime]] = {}
        self._last_id = 10**15

    def account(self, appid: object = None, /) -> Account:
        """The account named, or the only one. Raises NotFound, InvalidInput."""
        if appid is None:
            if len(self.accounts) != 1:
                raise InvalidInput("name the appid", field="appid")
            return next(iter(self.accounts.values()))
        if not isinstance(appid, str) or appid not in self.accounts:
            raise NotFound("no such app")
        return self.accounts[appid]

    def person(self, *, appid: str, openid: str) -> Follower:
        """The person, met for the first time if need be."""
        return self.people.setdefault((appid, openid), Follower())

    def next_id(self) -> int:
        """A message id that was never given before."""
        self._last_id += 1
        return self._last_id

    def token(self, account: Account, /, *, at: datetime, force: bool) -> tuple[str, int]:
        """(token, seconds left): the same one until it runs out or `force`."""
        account.fetches["forced" if force else "plain"] += 1
        if force or account.token_until is None or account.token_until <= at:
            account.access_token = secrets.token_urlsafe(64)
            account.token_until = at + TOKEN_LIFE
        assert account.token_until is not None  # set above
        return account.access_token, int((account.token_until - at).total_seconds())

    def account_of_token(self, token: str, /, *, at: datetime) -> Account | None:
        """The account whose living token this is."""
        for account in self.accounts.values():
            alive = account.token_until is not None and at < account.token_until
            if alive and token and account.access_token == token:
                return account
        return None

    def heard(self, *, appid: str, openid: str, at: datetime, event: str | None) -> None:
        """The person wrote or clicked: follow state and chat window change as the platform's do."""
        person = self.person(appid=appid, openid=openid)
        person.subscribed = event != "unsubscribe"
        if event is None:
            person.window, person.left = at + timedelta(hours=48), 5
        elif event in ("subscribe", "CLICK", "SCAN") and (
            person.window is None or person.window <= at
        ):
            person.window, person.left = at + timedelta(minutes=1), 3

    def first_id(self, *, appid: str, openid: str, key: str, at: datetime) -> tuple[int, bool]:
        """(message id, whether it is new) of a template send with this client_msg_id."""
        known = self._sent.get((appid, openid, key)) if key else None
        if known is not None and at < known[1]:
            return known[0], False
        number = self.next_id()
        if key:
            self._sent[(appid, openid, key)] = (number, at + REPEAT)
        return number, True
