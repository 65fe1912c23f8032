"""The files of the broker in production agree with what the two sides of the line do."""

from __future__ import annotations

import re
from pathlib import Path

from backend.uplink.frame import MAX_FRAME

FILES = Path(__file__).resolve().parents[3] / "docs" / "mosquitto"
_TOPIC = re.compile(r"^(topic|pattern) (read|write|readwrite) (\S+)$")


def _settings() -> dict[str, str]:
    lines = (FILES / "mosquitto.conf").read_text().splitlines()
    pairs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: value for name, value in pairs if name != "log_type"}


def test_a_whole_frame_passes_and_anything_much_longer_is_refused_by_its_length() -> None:
    longest = MAX_FRAME + len("up/") + 16 + 2 + 2 + 5  # topic, its length, packet number, header
    assert longest <= int(_settings()["max_packet_size"]) <= longest + 1024


def test_nobody_is_nameless_and_nothing_is_kept() -> None:
    settings = _settings()
    for name in (
        "allow_anonymous",
        "allow_zero_length_clientid",
        "retain_available",
        "persistence",
    ):
        assert settings[name] == "false", name
    assert settings["acl_file"].endswith("/acl")


def test_the_cloud_hears_gateways_and_a_gateway_has_its_own_topics_only() -> None:
    user, rights = "", set()
    for line in (FILES / "acl").read_text().splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ")
        elif found := _TOPIC.match(line):
            who = "anybody" if found[1] == "pattern" else user
            rights.add((who, found[2], found[3]))
    assert rights == {
        ("cloud", "read", "up/+"),
        ("cloud", "read", "enrol/+"),
        ("cloud", "write", "down/+"),
        ("cloud", "write", "enrolled/+"),
        ("cloud", "read", "$SYS/broker/uptime"),
        ("anybody", "write", "up/%c"),
        ("anybody", "read", "down/%c"),
        ("anybody", "write", "enrol/%c"),
        ("anybody", "read", "enrolled/%c"),
    }
