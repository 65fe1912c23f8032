"""A project gets its own merchant account at WeChat Pay (A2): checked before it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy import operations, queries

from .ports import Ports


@dataclass(frozen=True, slots=True)
class WechatMerchant:
    """What WeChat Pay gives a merchant; PEM texts are PKCS#8 and SubjectPublicKeyInfo."""

    mchid: str
    app_id: str
    cert_serial_no: str
    public_key_id: str
    public_key_pem: str
    private_key_pem: str = field(repr=False)
    apiv3_key: str = field(repr=False)


async def set_wechat_pay(
    ports: Ports, *, scope: Scope, project_id: UUID, merchant: WechatMerchant
) -> UUID:
    """Seal and keep the merchant account of a project; returns the credential's id.

    Raises NotFound, Forbidden, InvalidInput (the adapter cannot work with it; nothing is kept).
    """
    if not merchant.mchid.strip():
        raise InvalidInput("WeChat Pay: mchid is not usable", field="mchid")
    async with unit_of_work(scope.group_id) as work:
        await queries.project(work, scope=scope, project_id=project_id)
        credential_id = await operations.save_credential(
            work,
            scope=scope,
            box=ports.box,
            kind="WECHAT_PAY",
            key=merchant.mchid,
            project_id=project_id,
            public={
                "app_id": merchant.app_id,
                "cert_serial_no": merchant.cert_serial_no,
                "public_key_id": merchant.public_key_id,
                "public_key_pem": merchant.public_key_pem,
            },
            secret={
                "private_key_pem": merchant.private_key_pem,
                "apiv3_key": merchant.apiv3_key,
            },
            at=ports.clock.now(),
        )
        kept = await queries.credential_by_id(work, box=ports.box, credential_id=credential_id)
        # Built here so that a key that does not fit is refused now, not when the first tenant pays.
        ports.payment_channel(scope.group_id, kept)
    return credential_id
