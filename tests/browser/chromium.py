"""A real Chromium without a window, driven by its own protocol (CDP) over one WebSocket."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ..flows.town import until


class Tab:
    """One tab. Whatever the page throws is kept in `errors`."""

    def __init__(self, line: ClientConnection) -> None:
        self._line = line
        self._next = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []

    async def listen(self) -> None:
        """Take what Chromium says until it ends."""
        while True:
            try:
                text = await self._line.recv()
            except ConnectionClosed:
                return
            told = json.loads(text)
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(told["params"]["exceptionDetails"]))
            if "id" in told and not self._answers[told["id"]].done():
                self._answers.pop(told["id"]).set_result(told)

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command's result."""
        self._next += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._next] = future
        await self._line.send(json.dumps({"id": self._next, "method": method, "params": params}))
        told = await asyncio.wait_for(future, 30)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        told = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def sees(self, text: str) -> None:
        """Wait until the page shows `text`."""

        async def there() -> bool | None:
            shown = await self.run("document.body ? document.body.innerText : ''")
            return True if text in str(shown) else None

        try:
            await until(there, f"the sentence {text!r}")
        except AssertionError as error:
            shown = await self.run("location.href + '\\n' + document.documentElement.innerText")
            raise AssertionError(f"{error}; the page shows:\n{shown}\n{self.errors}") from None


@asynccontextmanager
async def chromium(folder: Path, *, user_agent: str, before: str = "") -> AsyncIterator[Tab]:
    """A fresh browser that calls itself `user_agent`; `before` runs in each page before its own scripts."""
    program = shutil.which("chromium")
    assert program is not None, "the tests of pages need Chromium: on Debian, apt install chromium"
    process = await asyncio.create_subprocess_exec(
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", f"--user-agent={user_agent}"),
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await until(lambda: _port(folder / "DevToolsActivePort"), "Chromium", 60.0)
        address = await until(lambda: _tab(port), "a tab", 60.0)
        async with connect(address, max_size=None, proxy=None) as line:
            tab = Tab(line)
            listening = asyncio.create_task(tab.listen())
            for domain in ("Page", "Runtime"):
                await tab.send(f"{domain}.enable")
            if before:
                await tab.send("Page.addScriptToEvaluateOnNewDocument", source=before)
            yield tab
            listening.cancel()
    finally:
        process.terminate()
        await process.wait()


async def _port(file: Path) -> int | None:
    def written() -> list[str]:
        return file.read_text().split() if file.is_file() else []

    words = await asyncio.to_thread(written)
    return int(words[0]) if words else None


async def _tab(port: int) -> str | None:
    async with httpx.AsyncClient(trust_env=False) as client:
        tabs = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
    found = [str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page"]
    return found[0] if found else None
