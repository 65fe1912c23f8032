"""One official account (服务号): its credentials, and its client with one shared token.

wechatpy 1.8.18 fetches a token per process, retries a bad one without end and has no time-outs
(reference/channels.md section 1.3): the client here uses stable_token under a lock, retries once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import redis
from wechatpy.client import WeChatClient
from wechatpy.exceptions import WeChatClientException

from backend.integrations.http_session import CONNECT_S, READ_S, BoundedSession, checked_base_url
from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput

log = logging.getLogger(__name__)

API = "https://api.weixin.qq.com"
OAUTH = "https://open.weixin.qq.com"
BAD_TOKEN = frozenset({40001, 40014, 42001})
_TOKEN_MARGIN_S = 120
_LOCK_S = 30.0


@dataclass(frozen=True, slots=True)
class WechatAccountConfig:
    """An official account.

    Raises InvalidInput for an address that is not https (unless `allow_http`).
    """

    appid: str
    secret: str = field(repr=False)
    base_url: str = API
    oauth_base_url: str = OAUTH
    allow_http: bool = False

    def __post_init__(self) -> None:
        if not self.appid or not self.secret:
            raise InvalidInput("WeChat: appid and secret are needed", field="appid")
        for name in ("base_url", "oauth_base_url"):
            checked_base_url(getattr(self, name), allow_http=self.allow_http, field=name)


class TokenStore(Protocol):
    """Where all workers find the one token of an account. Blocking: used inside a thread."""

    def get(self, key: str, /) -> str | None:
        """The value, or None when there is none or it has run out."""
        ...

    def set(self, *, key: str, value: str, ttl_s: int) -> None:
        """Keep `value` for `ttl_s` seconds."""
        ...

    def lock(self, key: str, /) -> AbstractContextManager[None]:
        """Hold the lock of `key` over all workers."""
        ...


class RedisTokenStore:
    """Tokens in Redis, shared by every process.

    When Redis is away the token is fetched anew: stable_token gives every caller the same one, so
    the loss costs calls, not correctness.
    """

    def __init__(self, client: redis.Redis, /, *, prefix: str = "wechat") -> None:
        self._redis = client
        self._prefix = prefix

    def get(self, key: str, /) -> str | None:
        """The value, or None (also when Redis is away)."""
        try:
            value: Any = self._redis.get(f"{self._prefix}:{key}")
        except redis.RedisError:
            log.warning("token store is away; asking WeChat instead")
            return None
        return value.decode() if isinstance(value, bytes) else value

    def set(self, *, key: str, value: str, ttl_s: int) -> None:
        """Keep `value` for `ttl_s` seconds, when Redis is there."""
        try:
            self._redis.set(f"{self._prefix}:{key}", value, ex=ttl_s)
        except redis.RedisError:
            log.warning("token store is away; the token is not shared")

    @contextmanager
    def lock(self, key: str, /) -> Iterator[None]:
        """Hold the lock of `key`, at most 30 s; without Redis there is none."""
        lock = self._redis.lock(f"{self._prefix}:lock:{key}", timeout=_LOCK_S)
        try:
            held = lock.acquire(blocking_timeout=_LOCK_S)
        except redis.RedisError:
            held = False
        try:
            yield
        finally:
            if held:
                try:
                    lock.release()
                except redis.RedisError:  # it ran out, or Redis went away meanwhile
                    log.warning("the token lock could not be released")


class ProcessTokenStore:
    """Tokens of a single process (demo, tests); safe between its threads."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._values: dict[str, tuple[str, datetime]] = {}
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def get(self, key: str, /) -> str | None:
        """The value, or None when there is none or it has run out."""
        value, until = self._values.get(key, ("", self._clock.now()))
        return value if self._clock.now() < until else None

    def set(self, *, key: str, value: str, ttl_s: int) -> None:
        """Keep `value` for `ttl_s` seconds."""
        self._values[key] = (value, self._clock.now() + timedelta(seconds=ttl_s))

    def lock(self, key: str, /) -> AbstractContextManager[Any]:
        """Hold the lock of `key` in this process."""
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())


class StableTokenClient(WeChatClient):  # type: ignore[misc]  # wechatpy has no types
    """wechatpy's client with stable_token, time-outs, and exactly one retry on a bad token.

    Blocking: call it in a thread. Raises wechatpy.exceptions.WeChatClientException (errcode None
    for an HTTP error) and requests.RequestException.
    """

    def __init__(self, config: WechatAccountConfig, /, *, token_store: TokenStore) -> None:
        super().__init__(config.appid, config.secret, timeout=(CONNECT_S, READ_S), auto_retry=False)
        self._http = BoundedSession()
        self.API_BASE_URL = config.base_url.rstrip("/") + "/cgi-bin/"
        self._tokens = token_store
        self._key = f"token:{config.appid}"

    @property
    def access_token(self) -> str:
        """The shared token, fetched under the lock when there is none."""
        return self._tokens.get(self._key) or self._fetch(bad=None)

    def fetch_access_token(self) -> str:
        """A token that is not the one in the store (wechatpy's name for a renewal)."""
        return self._fetch(bad=self._tokens.get(self._key))

    def _fetch(self, *, bad: str | None) -> str:
        """A token other than `bad`: another worker's, else stable_token's, else a forced one."""
        with self._tokens.lock(self._key):
            stored = self._tokens.get(self._key)
            if stored and stored != bad:
                return stored
            token, ttl = self._stable_token(force=False)
            if token == bad:
                # Forcing is limited to 20 a day, so it is the last resort only.
                token, ttl = self._stable_token(force=True)
            self._tokens.set(
                key=self._key, value=token, ttl_s=max(ttl - _TOKEN_MARGIN_S, _TOKEN_MARGIN_S)
            )
            return token

    def _stable_token(self, *, force: bool) -> tuple[str, int]:
        """(token, seconds it lives) of /cgi-bin/stable_token; the secret travels in the body."""
        body = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self.secret,
            "force_refresh": force,
        }
        answer = self._http.post(self.API_BASE_URL + "stable_token", json=body)
        found: Any = answer.json() if answer.status_code == 200 else {}
        if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
            raise WeChatClientException(_errcode(found), "no token", client=self, response=answer)
        return found["access_token"], int(found.get("expires_in", 7200))

    def _request(self, method: str, url_or_endpoint: str, **kwargs: Any) -> Any:
        """wechatpy's request; a bad token is replaced and the call repeated once."""
        token = self.access_token
        params = kwargs.pop("params", {})
        try:
            with_token = {**params, "access_token": token}
            return super()._request(method, url_or_endpoint, params=with_token, **kwargs)
        except WeChatClientException as error:
            if error.errcode not in BAD_TOKEN:
                raise
        with_token = {**params, "access_token": self._fetch(bad=token)}
        return super()._request(method, url_or_endpoint, params=with_token, **kwargs)


def _errcode(answer: object) -> int | None:
    """The errcode of an answer, if it has one."""
    code = answer.get("errcode") if isinstance(answer, dict) else None
    return code if isinstance(code, int) else None
