"""Settings of a process, read once from the environment. Nothing else reads the environment."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process is told. Secrets are hidden in `repr`.

    `environment` is production, demo or test; outside production plain-http provider addresses are
    accepted. `provider_urls` overrides the providers' addresses (stand-ins), by name.
    """

    environment: str
    database_url: str = field(repr=False)
    redis_url: str
    public_url: str
    secret_keys: Mapping[int, bytes] = field(repr=False)
    owner_database_url: str | None = field(default=None, repr=False)
    log_level: str = "INFO"
    provider_urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def production(self) -> bool:
        """Whether real money moves here."""
        return self.environment == "production"


_PROVIDERS = ("WECHAT_PAY", "WECHAT", "SMS")


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables `SHUIDIAN_*` (.env.example lists them).

    Raises InvalidInput that names the variable which is missing or wrong.
    """
    environment = environ.get("SHUIDIAN_ENV", "production")
    if environment not in ("production", "demo", "test"):
        raise InvalidInput("SHUIDIAN_ENV must be production, demo or test", field="SHUIDIAN_ENV")
    public_url = _required(environ, "SHUIDIAN_PUBLIC_URL").rstrip("/")
    urls = {
        name: environ[f"SHUIDIAN_{name}_URL"].rstrip("/")
        for name in _PROVIDERS
        if environ.get(f"SHUIDIAN_{name}_URL")
    }
    if environment == "production":
        for name, url in {"PUBLIC": public_url, **urls}.items():
            if urlsplit(url).scheme != "https":
                variable = f"SHUIDIAN_{name}_URL"
                raise InvalidInput(
                    f"{variable}: production takes https addresses only, not {url}", field=variable
                )
    return Settings(
        environment=environment,
        database_url=_required(environ, "SHUIDIAN_DATABASE_URL"),
        owner_database_url=environ.get("SHUIDIAN_OWNER_DATABASE_URL") or None,
        redis_url=_required(environ, "SHUIDIAN_REDIS_URL"),
        public_url=public_url,
        secret_keys=parse_keys(_required(environ, "SHUIDIAN_SECRET_KEYS")),
        log_level=environ.get("SHUIDIAN_LOG_LEVEL", "INFO").upper(),
        provider_urls=urls,
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise InvalidInput(f"{name} is not set (see .env.example)", field=name)
    return value


def parse_keys(text: str) -> dict[int, bytes]:
    """Versioned key-encryption keys: `1:<base64 of 32 bytes>,2:<...>`; the highest one seals."""
    keys: dict[int, bytes] = {}
    for part in text.split(","):
        version, _, encoded = part.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        number = int(version) if version.isdecimal() else 0
        if not 1 <= number <= 65_535 or number in keys or len(key) != 32:
            raise InvalidInput(
                "SHUIDIAN_SECRET_KEYS takes version:base64 pairs of 32-byte keys, each version once",
                field="SHUIDIAN_SECRET_KEYS",
            )
        keys[number] = key
    return keys
