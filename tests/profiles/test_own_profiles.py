"""A site's own meter models: a folder of files, and the meters of them are read, sold to and switched."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import cli
from backend.kernel.clock import SetClock
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from tests.integration.field.conftest import FAST, START
from workers.drivers.factory import driver_of
from workers.drivers.ports import Relay
from workers.links.tcp import TcpLink
from workers.models import meter_models
from workers.profiles.loader import (
    PROFILE_DIR,
    ProfileError,
    known_profiles,
    profile_of,
    shipped_profiles,
    use_own_profiles,
)
from workers.virtual.site import VirtualSite, parse_site

MODEL = "DDSY1352-SITE-7"
PREPAID = (PROFILE_DIR / "ddsy1352-nk.toml").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An operator's folder of profiles, of which nothing is known once the test is over."""
    folder, nothing = tmp_path / "profiles", tmp_path / "nothing"
    folder.mkdir()
    nothing.mkdir()
    meter_models.cache_clear()
    yield folder
    use_own_profiles(nothing)
    meter_models.cache_clear()


def _put(folder: Path, model: str, *, name: str = "mine.toml", text: str = PREPAID) -> None:
    named = text.replace('model = "DDSY1352-NK"', f'model = "{model}"', 1)
    assert named != text or model == "DDSY1352-NK"
    (folder / name).write_text(named, "utf-8")


async def test_a_meter_of_a_sites_own_model_is_read_sold_to_and_switched(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        profile_of(MODEL)
    _put(folder, MODEL)
    use_own_profiles(folder)
    assert set(known_profiles()) == {*shipped_profiles(), MODEL}
    assert meter_models()[MODEL].holds_money
    meter = {
        "serial": "230000000001",
        "unit": 1,
        "model": "DDSY1352-NK",  # what the file in the folder is a copy of
        "energy": "12000.00",
        "average_w": 0,
        "remaining": "20.00",
        "purchase_count": 4,
    }
    plan = parse_site({"gateways": [{"serial": "GW-1", "meters": [meter]}]})
    async with VirtualSite(plan, data_dir=tmp_path / "meters", clock=SetClock(START)) as site:
        link = TcpLink("127.0.0.1", site.gateways["GW-1"].port, timing=FAST)
        driver = driver_of(profile_of(MODEL), "1", link.exchange)
        assert (await driver.read()).total == 12_000_000
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
        assert (await driver.wallet()).remaining == Money.parse("70.00")
        await driver.trip()
        assert (await driver.read()).relay is Relay.OPEN
        await link.close()


def test_a_wrong_file_is_named_and_nothing_of_the_folder_is_known(folder: Path) -> None:
    _put(folder, MODEL)
    _put(folder, "OTHER", name="wrong.toml", text=PREPAID.replace("phases = 1", "phases = 2", 1))
    with pytest.raises(ProfileError, match=r"profile wrong\.toml: phases: 2 is not one of"):
        use_own_profiles(folder)
    assert MODEL not in known_profiles()


def test_what_ships_is_never_replaced_and_no_model_is_there_twice(folder: Path) -> None:
    _put(folder, "DDSY1352-NK")
    with pytest.raises(ProfileError, match=r"mine\.toml: model DDSY1352-NK ships with the product"):
        use_own_profiles(folder)
    _put(folder, MODEL)
    _put(folder, MODEL, name="twin.toml")
    with pytest.raises(ProfileError, match=f"twin.toml: model {MODEL} is there twice"):
        use_own_profiles(folder)
    assert known_profiles() == shipped_profiles()


def test_a_folder_that_is_none_is_told(folder: Path) -> None:
    with pytest.raises(ProfileError, match="no folder of profiles"):
        use_own_profiles(folder / "missing")


def _told(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    for name, value in {
        "ENV": "test",
        "PUBLIC_URL": "http://127.0.0.1:1",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEYS": f"1:{key}",
        "PROFILES_DIR": str(folder),
    }.items():
        monkeypatch.setenv(f"SHUIDIAN_{name}", value)


def test_a_process_that_is_told_of_a_wrong_profile_says_which_and_does_not_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _put(folder, MODEL, text=PREPAID.replace("phases = 1", "phases = 2", 1))
    _told(monkeypatch, folder)
    assert cli.main(["worker", "--check"]) == 2
    assert "shuidian: profile mine.toml: phases: 2 is not one of" in capsys.readouterr().err


def test_a_process_knows_the_models_of_the_folder_that_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(folder, MODEL)
    _told(monkeypatch, folder)
    assert cli.main(["worker", "--check"]) == 1  # no Redis there; but the settings are read
    assert MODEL in meter_models()


def test_a_gateways_site_file_may_name_models_that_stand_beside_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = folder.parent / "site.toml"
    site.write_text(
        '[[buses]]\nnumber = 1\ntcp = "127.0.0.1:502"\n'
        f'[[meters]]\nserial = "1"\nmodel = "{MODEL}"\nbus = 1\naddress = "1"\n',
        "utf-8",
    )
    assert cli.main(["gateway", "check", str(site)]) == 1
    assert f"no profile for {MODEL}" in capsys.readouterr().out
    _put(folder, MODEL)
    assert cli.main(["gateway", "check", str(site)]) == 0
    (folder / "mine.toml").write_text("phases = ", "utf-8")
    assert cli.main(["gateway", "check", str(site)]) == 1
    assert "mine.toml: (file): not TOML" in capsys.readouterr().out
