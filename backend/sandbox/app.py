"""All stand-ins of the outside in one application, for the demo, the tests and developers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount

from backend.kernel.clock import Clock
from backend.sandbox.alipay import alipay_app
from backend.sandbox.chinapay import chinapay_app
from backend.sandbox.sending import RETRIES_S
from backend.sandbox.sms import sms_app
from backend.sandbox.unionpay import unionpay_app
from backend.sandbox.webhook import webhook_app
from backend.sandbox.wechat import wechat_app
from backend.sandbox.wechat_pay import wechat_pay_app


def sandbox_app(
    *,
    clock: Clock,
    pay_store: str = ":memory:",
    public_url: str | None = None,
    notice_retries_s: Sequence[float] = RETRIES_S,
) -> Starlette:
    """The stand-ins under /wechat-pay, /alipay, /unionpay, /chinapay, /wechat, /sms and /webhook. Serve it on
    loopback only.

    `pay_store` is a SQLite file that survives a restart (the other channels have theirs beside it);
    `public_url` is the address of this application as a browser sees it (without /wechat-pay), when it
    differs from the request's.
    """
    pay = wechat_pay_app(
        clock=clock,
        store=pay_store,
        public_url=f"{public_url.rstrip('/')}/wechat-pay" if public_url else None,
        retries_s=notice_retries_s,
    )
    parts = {
        "/wechat-pay": pay,
        "/alipay": alipay_app(
            clock=clock,
            store=_beside(pay_store, "alipay"),
            public_url=f"{public_url.rstrip('/')}/alipay" if public_url else None,
            retries_s=notice_retries_s,
        ),
        "/unionpay": unionpay_app(
            clock=clock, store=_beside(pay_store, "unionpay"), retries_s=notice_retries_s
        ),
        "/chinapay": chinapay_app(
            clock=clock, store=_beside(pay_store, "chinapay"), retries_s=notice_retries_s
        ),
        "/wechat": wechat_app(clock=clock),
        "/sms": sms_app(clock=clock),
        "/webhook": webhook_app(clock=clock),
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # A mounted application is not started or stopped by its host.
        async with AsyncExitStack() as stack:
            for part in parts.values():
                await stack.enter_async_context(part.router.lifespan_context(part))
            yield

    return Starlette(
        routes=[Mount(path, app=part) for path, part in parts.items()], lifespan=lifespan
    )


def _beside(store: str, name: str) -> str:
    """A further store beside `store`: a file in its folder, or memory as well."""
    return store if store == ":memory:" else str(Path(store).with_name(f"{name}.sqlite"))
