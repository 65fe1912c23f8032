"""The console in a real browser, as an operator uses it: by its words, and the first form by keys alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..flows.town import Town, until
from .chromium import Tab, chromium

DESK = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0"
# A browser without a policy would say nothing of a script or style that is kept out: this one does.
_WATCH = """window.broken = [];
document.addEventListener("securitypolicyviolation", (event) => broken.push(event.violatedDirective));"""
_NO_SOCKETS = """
window.WebSocket = function () {
  const socket = new EventTarget();
  setTimeout(() => socket.dispatchEvent(Object.assign(new Event("close"), {code: 1006})));
  return socket;
};"""


class Console:
    """One operator's browser."""

    def __init__(self, tab: Tab, town: Town) -> None:
        self.tab = tab
        self.town = town

    async def open(self) -> None:
        """Go to the page; it asks who is there."""
        await self.tab.send("Page.navigate", url=f"{self.town.api}/console/")
        await self.sees("密码")

    async def type(self, text: str) -> None:
        """Type where one is."""
        await self.tab.send("Input.insertText", text=text)

    async def key(self, name: str, code: int) -> None:
        """Press a key of the keyboard."""
        given = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        text = {"text": "\r"} if name == "Enter" else {}
        await self.tab.send("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        await self.tab.send("Input.dispatchKeyEvent", type="keyUp", **given)

    async def sign_in(self, login: str, password: str | None = None) -> None:
        """Fill in the form by the keyboard alone."""
        await self.until("document.activeElement.name === 'login'")
        await self.tab.run("document.activeElement.value = ''")
        await self.type(login)
        await self.key("Tab", 9)
        await self.type(self.town.secrets.passwords[login] if password is None else password)
        await self.key("Enter", 13)

    async def go(self, *parts: str) -> None:
        """Open a page of the street."""
        await self.tab.run(f"location.hash = {json.dumps('#/street/' + '/'.join(parts))}")

    async def click(self, words: str) -> None:
        """Press the button that begins with these words, once it is there."""
        found = (
            "[...document.querySelectorAll('main button, dialog button, header button')]"
            f".find((each) => each.offsetParent && each.textContent.startsWith({json.dumps(words)}))"
        )
        await self.until(f"(({found}) || {{disabled: true}}).disabled === false")
        await self.tab.run(f"{found}.click()")

    async def fill(self, name: str, value: str) -> None:
        """Fill in a field."""
        field = f"document.querySelector('[name={name}]')"
        await self.until(f"{field} !== null")
        await self.tab.run(
            f"{field}.value = {json.dumps(value)};"
            f"for (const kind of ['input', 'change']) {field}.dispatchEvent(new Event(kind))"
        )

    async def sees(self, text: str) -> None:
        """Wait until the page shows it."""
        await self.tab.sees(text)

    async def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""

        async def holds() -> bool | None:
            return True if await self.tab.run(script) else None

        await until(holds, script)

    async def rows(self) -> list[list[str]]:
        """The cells of the table, once there is one."""
        await self.until("document.querySelector('main tbody tr') !== null")
        found: list[list[str]] = await self.tab.run(
            "[...document.querySelectorAll('main tbody tr')].map((row) =>"
            " [...row.cells].map((cell) => cell.innerText.replace(/\\s+/g, ' ').trim()))"
        )
        return found

    async def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return await self.tab.run(script)

    async def is_clean(self) -> None:
        """Nothing was thrown, and nothing was kept out by the page's own policy."""
        assert self.tab.errors == []
        assert await self.tab.run("broken") == []


@asynccontextmanager
async def console(town: Town, folder: Path, *, sockets: bool = True) -> AsyncIterator[Console]:
    """A browser with the console open; without `sockets` a proxy on its way lets none through."""
    before = _WATCH if sockets else _WATCH + _NO_SOCKETS
    async with chromium(folder, user_agent=DESK, before=before) as tab:
        opened = Console(tab, town)
        await opened.open()
        yield opened
