"""The pay page and the stage as text: safe under `default-src 'self'`, legible, and with all their words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import OperationDefinitionNode, build_schema, parse, validate

from backend.metering.rules import MeterKind
from backend.topups.rules import METHODS, Channel, PayMethod

from .pages import CONSOLE, PAY, ROOT, STAGE, Page, colours, contrast

PAGES = [PAY / "pay.html", STAGE / "stage.html", CONSOLE / "index.html"]
FOLDERS = [PAY, STAGE, CONSOLE]
KEY = re.compile(r'"([a-z_]+(?:\.[a-z_]+)+)"')
TEXT = re.compile(r'^  "([a-z_.]+)": "(.+)",$', re.MULTILINE)
# Built from the stage of a top-up: `stage + ".head"`.
STAGES = ("waiting", "closed", "paid", "sending", "offline", "stopped")
# What a page can be paid by: `"way." + channel`.
WAYS = [channel.lower() for channel in Channel if METHODS[channel] != (PayMethod.COUNTER,)]


def _named(path: Path) -> str:
    return path.name


def _scripts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js"))}


@pytest.mark.parametrize("path", PAGES, ids=_named)
def test_a_page_runs_under_a_policy_that_allows_nothing_inline_and_nothing_foreign(
    path: Path,
) -> None:
    page = Page(path)
    assert page.code == "", "code inside the page"
    assert not page.named("style")
    for element in page.elements:
        inline = [n for n in element.attributes if n == "style" or n.startswith("on")]
        assert not inline, f"{element.tag}: {inline}"
    pulled = [*page.values("src"), *page.values("href")]
    local = [name for name in pulled if not name.startswith("#")]
    assert {"js", "css"} <= {name.rsplit(".", 1)[-1] for name in local}
    for name in local:
        assert "//" not in name, f"{name} is of another site"
        assert (path.parent / re.sub("^/(h5|console)/", "", name)).is_file(), f"{name} is missing"


@pytest.mark.parametrize("folder", FOLDERS, ids=_named)
def test_scripts_and_styles_pull_nothing_from_elsewhere_and_write_no_html(folder: Path) -> None:
    scripts = _scripts(folder)
    for name, text in scripts.items():
        assert not re.search(r"https?://\w", text), f"{name} names another site"
        for wrong in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert wrong not in text, f"{name} uses {wrong}"
        for wanted in re.findall(r'from "(.+?)"', text):
            assert wanted.removeprefix("./") in scripts, f"{name} imports {wanted}"
    for style in folder.glob("*.css"):
        assert not re.search(r"@import|url\(|https?:", style.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=_named)
def test_a_page_can_be_enlarged_and_says_its_language(path: Path) -> None:
    page = Page(path)
    assert page.named("html")[0]["lang"] == "zh-CN"
    [viewport] = [m["content"] for m in page.named("meta") if m.get("name") == "viewport"]
    assert viewport == "width=device-width, initial-scale=1"
    assert {"status", "alert"} <= set(page.values("role")), "no live region"


@pytest.mark.parametrize("path", PAGES[:2], ids=_named)
def test_every_part_that_a_script_asks_for_is_on_the_page(path: Path) -> None:
    ids = Page(path).values("id")
    assert len(ids) == len(set(ids))
    for name, text in _scripts(path.parent).items():
        asked = set(re.findall(r'(?:\$|put)\("([a-z-]+)"', text))
        assert asked <= set(ids), f"{name} asks for {asked - set(ids)}"


def test_every_sentence_of_the_pay_page_is_there_and_none_is_left_over() -> None:
    scripts = _scripts(PAY)
    texts = dict(TEXT.findall(scripts.pop("texts.js")))
    used = {key for text in scripts.values() for key in KEY.findall(text)}
    used |= set(Page(PAY / "pay.html").values("data-text"))
    used |= {f"way.{channel}" for channel in WAYS}
    used |= {f"meter.{kind.lower()}" for kind in MeterKind}
    used |= {f"{stage}.{part}" for stage in STAGES for part in ("head", "body")}
    assert used - texts.keys() == set(), "sentences that are missing"
    assert texts.keys() - used == set(), "sentences that nobody says"


def test_the_words_of_a_payments_progress_are_those_of_the_chat() -> None:
    texts = dict(TEXT.findall((PAY / "texts.js").read_text(encoding="utf-8")))
    assert texts["waiting.head"] == "待支付"
    assert texts["paid.head"] == "已支付"
    assert texts["sending.head"] == "下发中"
    assert texts["credited.head"] == "已到表 {time}"
    assert texts["offline.head"] == "已支付·表计离线，上线后自动到账"
    assert "已停止售电，管理员处理中" in texts["stopped.head"]


@pytest.mark.parametrize(
    ("style", "pairs"),
    [
        (
            PAY / "pay.css",
            "ink/paper ink/card quiet/card quiet/paper card/main main/card warn/warn-soft"
            " ink/warn-soft ink/main-soft bad/card warn/card",
        ),
        (
            STAGE / "stage.css",
            "ink/paper ink/card ink/warn-soft quiet/card quiet/paper main/card card/main"
            " good/card bad/card card/good",
        ),
        (
            CONSOLE / "console.css",
            "ink/paper ink/card quiet/paper quiet/card main/card card/main card/bad main/main-soft"
            " ink/main-soft good/good-soft warn/warn-soft bad/bad-soft bad/card ink/bad-soft",
        ),
    ],
    ids=["pay", "stage", "console"],
)
def test_text_stands_out_from_what_is_behind_it(style: Path, pairs: str) -> None:
    named = colours(style.read_text(encoding="utf-8"))
    for pair in pairs.split():
        text, behind = (named[name] for name in pair.split("/"))
        assert contrast(text, behind) >= 4.5, pair


def test_the_pay_pages_letters_are_never_below_18_px_and_its_buttons_are_60_px_high() -> None:
    style = (PAY / "pay.css").read_text(encoding="utf-8")
    assert re.search(r"html \{\s*font-size: 112\.5%;", style), "16 px x 112.5 % = 18 px"
    sizes = re.findall(r"font-size: ([\d.]+)rem", style)
    assert sizes
    assert all(float(size) >= 1 for size in sizes)
    assert "px;" not in " ".join(re.findall(r"font-size: \S+", style))
    for part in ("button", r"\.chip span", "#own-amount"):
        rule = re.search(rf"^{part} \{{(.*?)\}}", style, re.MULTILINE | re.DOTALL)
        assert rule is not None, part
        assert "min-height: 60px" in rule.group(1), part


def test_the_pay_pages_documents_are_valid_for_the_schema_as_it_is_published() -> None:
    schema = build_schema((ROOT / "schema/schema.graphql").read_text(encoding="utf-8"))
    script = (PAY / "queries.js").read_text(encoding="utf-8")
    documents = re.findall(r"export const \w+ = `(.+?)`;", script, re.DOTALL)
    found = {}
    for document in documents:
        parsed = parse(document)
        assert validate(schema, parsed) == []
        [operation] = parsed.definitions
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.name is not None
        found[operation.name.value] = document
        name = operation.name.value[0].lower() + operation.name.value[1:]
        allowed = ROOT / f"schema/operations/{name}.graphql"
        assert allowed.read_text(encoding="utf-8").strip() == document, f"{allowed.name} differs"
    assert set(found) == {"PayLink", "StartTopUpByLink", "TopUpByLink"}
    scripts = "".join(_scripts(PAY).values())
    for name in found:
        assert f'"{name}"' in scripts, f"{name} is never asked by its name"
