"""Settings of a process, read once from the environment. Nothing else reads the environment."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import InvalidInput

HostPort = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process is told. Secrets are hidden in `repr`.

    `environment` is production, demo or test; outside production plain-http provider addresses are
    accepted. `mqtt_url` is the broker of the sealed uplink (mqtt://user:password@host:port), empty when
    no gateway of ours is used. `provider_urls` overrides the providers' addresses (stand-ins), by name.
    The links door and the ports for dial-ins are (host, port), None when off. `pool_max` is how many
    connections to PostgreSQL one process may hold; None is the process's own measure. `profiles_dir` holds
    the operator's own meter models, None when there are none.
    """

    environment: str
    database_url: str = field(repr=False)
    redis_url: str
    public_url: str
    secret_keys: Mapping[int, bytes] = field(repr=False)
    owner_database_url: str | None = field(default=None, repr=False)
    log_level: str = "INFO"
    provider_urls: Mapping[str, str] = field(default_factory=dict)
    links_door: HostPort | None = None
    links_token: str = field(default="", repr=False)
    mqtt_url: str = field(default="", repr=False)
    dtu_listen: HostPort | None = None
    acrel_gateway_listen: HostPort | None = None
    acrel_4g_listen: HostPort | None = None
    keep_samples_days: int = 400
    keep_rollups_days: int = 3660
    pool_max: int | None = None
    profiles_dir: Path | None = None

    @property
    def production(self) -> bool:
        """Whether real money moves here."""
        return self.environment == "production"


_PROVIDERS = ("WECHAT_PAY", "ALIPAY", "UNIONPAY", "UNIONPAY_FILES", "CHINAPAY", "WECHAT", "SMS")


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
        links_door=_host_port(environ, "SHUIDIAN_LINKS_DOOR", default="127.0.0.1:7100"),
        links_token=environ.get("SHUIDIAN_LINKS_TOKEN", ""),
        mqtt_url=environ.get("SHUIDIAN_MQTT_URL", ""),
        dtu_listen=_host_port(environ, "SHUIDIAN_DTU_LISTEN", default="0.0.0.0:7101"),
        acrel_gateway_listen=_host_port(environ, "SHUIDIAN_ACREL_GATEWAY_LISTEN"),
        acrel_4g_listen=_host_port(environ, "SHUIDIAN_ACREL_4G_LISTEN"),
        keep_samples_days=_days(environ, "SHUIDIAN_KEEP_SAMPLES_DAYS", default="400"),
        keep_rollups_days=_days(environ, "SHUIDIAN_KEEP_ROLLUPS_DAYS", default="3660"),
        pool_max=_pool(environ, "SHUIDIAN_POOL_MAX"),
        profiles_dir=Path(own) if (own := environ.get("SHUIDIAN_PROFILES_DIR")) else None,
    )


def _host_port(environ: Mapping[str, str], name: str, *, default: str = "") -> HostPort | None:
    """host:port as a pair; None when the variable is set to nothing."""
    text = environ.get(name, default).strip()
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise InvalidInput(f"{name} takes host:port, not {text}", field=name)
    return host, int(port)


def _days(environ: Mapping[str, str], name: str, *, default: str) -> int:
    """A number of days, at least 35: what is younger is never dropped."""
    text = environ.get(name, default).strip() or default
    if not (text.isascii() and text.isdecimal() and 35 <= int(text) <= 36_600):
        raise InvalidInput(f"{name} takes 35 to 36600 days, not {text}", field=name)
    return int(text)


def _pool(environ: Mapping[str, str], name: str) -> int | None:
    """A number of connections, None when it is left to the process."""
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 2 <= int(text) <= 200):
        raise InvalidInput(f"{name} takes 2 to 200 connections, not {text}", field=name)
    return int(text)


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
