"""Structured logs: one JSON object a line, with no phone number, secret or token in it."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

_PHONE = re.compile(r"(?<!\d)((?:86)?1[3-9]\d)\d{4}(\d{4})(?!\d)")
_SECRET = re.compile(
    r"(?i)((?:password|secret|token|authorization|cookie|api_?v?3?_?key|code|sign(?:ature)?)"
    r"\\?[\"']?\s*[=:]\s*)(\\?\"[^\"]*\"|'[^']*'|[^\s\"',&}]+)"
)
_TOKEN_PATH = re.compile(r"(/(?:p|export|callbacks/aliyun-sms/\d+)/)[A-Za-z0-9_.\-]+")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.S)


def redact(text: str) -> str:
    """`text` with phone numbers masked (138****5678) and secrets, tokens, keys removed."""
    text = _PEM.sub("[key]", text)
    text = _BEARER.sub(r"\1[hidden]", text)
    text = _SECRET.sub(r"\1[hidden]", text)
    text = _TOKEN_PATH.sub(r"\1[hidden]", text)
    return _PHONE.sub(r"\1****\2", text)


class JsonFormatter(logging.Formatter):
    """A log record as one redacted JSON line; fields given by `extra={"fields": {...}}` join it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            for key, value in fields.items():  # the name tells whether the value is a secret
                entry[key] = redact(f"{key}={value}").partition("=")[2]
        if record.exc_info:
            entry["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


def configure(level: str) -> None:
    """Send every logger of the process to standard error as redacted JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.access", "arq.worker", "urllib3", "tortoise"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
