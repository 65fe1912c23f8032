"""The pay page inside Alipay, in a real browser: who pays is told by OAuth, and Alipay's own sheet pays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.sandbox.embedded.services import EmbeddedServices

from ..flows.town import Town, running_town, until
from .chromium import Tab, chromium

pytestmark = pytest.mark.chromium

ALIPAY = (
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Mobile AliApp(AP/10.6) AlipayClient/10.6"
)
# What Alipay puts into a page: it keeps what it was called with, and how to close the sheet.
BRIDGE = """window.AlipayJSBridge = {
  call(name, given, closed) { window.sheet = { name, given, closed }; },
};"""


@pytest.fixture
async def town(services: EmbeddedServices, tmp_path: Path, unique: str) -> AsyncIterator[Town]:
    """The town of the flows, with a worker."""
    async with running_town(services, tmp_path, unique) as built:
        built.start_worker()
        yield built


async def sheet(tab: Tab) -> dict[str, str]:
    """Wait for the pay sheet; what the page asked Alipay for."""

    async def there() -> dict[str, str] | None:
        found: dict[str, str] | None = await tab.run(
            "window.sheet ? {name: sheet.name, ...sheet.given} : null"
        )
        return found

    return await until(there, "the pay sheet")


async def orders(town: Town) -> list[dict[str, str]]:
    """The trades at the stand-in."""
    found: list[dict[str, str]] = (await town.control("/alipay/control/orders"))["orders"]
    return found


async def test_who_opens_the_link_inside_alipay_pays_on_its_sheet_and_sees_the_money_arrive(
    town: Town, tmp_path: Path
) -> None:
    await town.bind()
    page = f"{town.api}/p/{await town.link()}"
    async with chromium(tmp_path / "ours", user_agent=ALIPAY, before=BRIDGE) as tab:
        await tab.send("Page.navigate", url=page)
        await tab.sees("立即支付 50 元")
        # Through OAuth and back to the link itself: neither code nor state stays in the address.
        assert await tab.run("location.href") == page
        assert await tab.run("document.cookie") == "", "no script can read who it is"
        assert await tab.run("document.getElementById('ways-part').hidden"), "one way, no choice"
        await tab.run("document.getElementById('pay').click()")
        asked = await sheet(tab)
        (trade,) = await orders(town)
        assert asked == {"name": "tradePay", "tradeNO": trade["trade_no"]}
        assert trade["buyer_id"] == "2088000000000001"
        # What the sheet says proves nothing: it is closed as if paid, and the page still waits.
        await tab.run("sheet.closed({resultCode: '9000'})")
        await tab.sees("待支付")
        await town.control("/alipay/control/pay", {"out_trade_no": trade["out_trade_no"]})
        await tab.sees("已到表")
        assert tab.errors == []
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert await town.value("SELECT method FROM topups_order") == "JSAPI"

    await town.control("/alipay/control/faults", {"code_refused": 1})
    async with chromium(tmp_path / "refused", user_agent=ALIPAY, before=BRIDGE) as tab:
        await tab.send("Page.navigate", url=page)
        await tab.sees("没能确认您在本应用里的身份，没有扣款。")
        # What works without knowing the visitor is still there: the cashier's own page.
        await tab.run("document.getElementById('pay').click()")
        await tab.sees("模拟收银台")
        assert "/alipay/cashier/" in str(await tab.run("location.href"))
        assert await tab.run("window.sheet === undefined")
