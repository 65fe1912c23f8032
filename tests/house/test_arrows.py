"""The import arrows of DESIGN section 2 hold, name every room, and break when a room reaches up."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from .made_samples import write
from .test_house_rules import ROOT
from .tree import SOURCE_ROOTS

CONTRACT = ROOT / ".importlinter"
_LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

# importer, imported: one breach for each arrow that matters, each alone in its pair of rooms.
BREACHES = (
    ("backend.kernel.money", "backend.ledger.rules"),
    ("backend.tenancy.queries", "backend.accounts.queries"),
    ("backend.audit.operations", "backend.outbox.operations"),
    ("backend.ledger.operations", "backend.topups.operations"),
    ("backend.metering.queries", "backend.tariffs.rules"),
    ("backend.control.operations", "backend.reports.queries"),
    ("backend.reports.exports", "backend.journeys.charge"),
    ("backend.journeys.topup", "backend.integrations.wechat_pay"),
    ("backend.integrations.alipay", "backend.callbacks.notices"),
    ("backend.sandbox.server", "backend.integrations.unionpay"),
    ("backend.callbacks.routes", "backend.bootstrap"),
    ("backend.bootstrap", "schema.context"),
    ("schema.topups", "workers.relay"),
    ("bots.dialogue", "schema.scalars"),
    ("workers.settle", "backend.asgi"),
    ("backend.asgi", "backend.demo.run"),
    ("backend.demo.seed", "backend.chaos.run"),
    ("backend.chaos.run", "backend.cli"),
    ("backend.migrations.m0001", "backend.tenancy.models"),
    ("workers.protocols.dlt645", "workers.links.tcp"),
    ("workers.drivers.acrel", "backend.control.ports"),
    ("workers.links.lanes", "backend.outbox.queries"),
    ("workers.gateway.agent", "backend.metering.rules"),
    ("workers.virtual.site", "workers.gateway.store"),
)


def _rooms() -> set[str]:
    """Every room that the contract names."""
    config = ConfigParser()
    config.read_string(CONTRACT.read_text(encoding="utf-8"))
    layers = " ".join(
        config[section].get("layers", "") for section in config.sections() if "contract" in section
    )
    return set(re.findall(r"[a-z_.]+", layers))


def _lint(tree: Path) -> tuple[int, str]:
    """Exit code and output of import-linter, run in `tree` with the contract of the house."""
    done = subprocess.run(
        [sys.executable, "-c", _LINT, "--config", str(CONTRACT), "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _tiny_house(root: Path, breaches: tuple[tuple[str, str], ...]) -> None:
    """A package tree with the rooms of the contract and the given imports, and nothing else."""
    modules = _rooms() | {name for breach in breaches for name in breach}
    packages = {name.rpartition(".")[0] for name in modules} - {""}
    packages |= {package.split(".")[0] for package in packages} | {"bots", "schema"}
    for name in modules | packages:
        stem = name.replace(".", "/")
        path = f"{stem}/__init__.py" if name in packages else f"{stem}.py"
        imports = [f"import {imported}\n" for importer, imported in breaches if importer == name]
        write(root, path, "".join(imports))


def test_the_house_keeps_its_arrows() -> None:
    code, output = _lint(ROOT)
    assert code == 0, output


def test_every_room_on_disk_is_named_in_the_contract() -> None:
    rooms = _rooms()
    standing = {
        f"backend.{path.stem}"
        for path in (ROOT / "backend").iterdir()
        if (path.is_dir() and any(path.glob("**/*.py"))) or path.suffix == ".py"
    } - {"backend.__init__"}
    assert standing <= rooms
    assert {root.rstrip("/") for root in SOURCE_ROOTS} <= rooms | {"backend"}


def test_a_house_without_breaches_is_passed(tmp_path: Path) -> None:
    _tiny_house(tmp_path, ())
    code, output = _lint(tmp_path)
    assert code == 0, output
    assert "2 kept, 0 broken" in output


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What import-linter says of a house with all the breaches at once."""
    root = tmp_path_factory.mktemp("broken_house")
    _tiny_house(root, BREACHES)
    return _lint(root)


@pytest.mark.parametrize(("importer", "imported"), BREACHES)
def test_an_arrow_that_points_up_or_sideways_is_refused(
    verdict: tuple[int, str], importer: str, imported: str
) -> None:
    code, output = verdict
    assert code != 0
    assert f"{importer} -> {imported}" in output
