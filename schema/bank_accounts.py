"""A project's accounts at UnionPay and ChinaPay: written, never read back."""

from __future__ import annotations

from typing import Annotated

import strawberry

from backend.journeys.bank_accounts import (
    ChinapayMerchant,
    UnionpayMerchant,
    set_chinapay,
    set_unionpay,
)
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of

_LONG = frozenset({"pfx", "root_certificate", "middle_certificate", "private_key", "public_key"})


@strawberry.type(description="The project takes UnionPay payments by this merchant account.")
class UnionpaySet:
    """What was set, without its secrets."""

    project: strawberry.ID
    mer_id: str


@strawberry.type(description="The project takes ChinaPay payments by this merchant account.")
class ChinapaySet:
    """What was set, without its secrets."""

    project: strawberry.ID
    mer_id: str


SetUnionpayResult = Annotated[UnionpaySet | AnyProblem, strawberry.union("SetUnionpayResult")]
SetChinapayResult = Annotated[ChinapaySet | AnyProblem, strawberry.union("SetChinapayResult")]


@strawberry.type
class BankAccountMutations:
    """Writes."""

    @mutation(Permission.CREDENTIAL_WRITE, long=_LONG)
    async def set_unionpay(
        self,
        info: Info,
        project: strawberry.ID,
        mer_id: str,
        pfx: str,
        password: str,
        root_certificate: str,
        middle_certificate: str,
    ) -> SetUnionpayResult:
        """Keep the merchant account, sealed: UnionPay's pfx (base64) with its password, and the root and
        middle certificates (PEM) under which UnionPay signs; refused when its parts do not fit."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        merchant = UnionpayMerchant(mer_id, root_certificate, middle_certificate, pfx, password)
        await set_unionpay(
            info.context.ports, scope=scope, project_id=project_id, merchant=merchant
        )
        return UnionpaySet(project=project, mer_id=mer_id)

    @mutation(Permission.CREDENTIAL_WRITE, long=_LONG)
    async def set_chinapay(
        self,
        info: Info,
        project: strawberry.ID,
        mer_id: str,
        private_key: str,
        public_key: str,
    ) -> SetChinapayResult:
        """Keep the merchant account, sealed: the merchant's private key, and ChinaPay's own certificate or
        public key (PEM); refused when its parts do not fit."""
        scope, project_id = info.context.caller(), uuid_of(project, "Project")
        merchant = ChinapayMerchant(mer_id, public_key, private_key)
        await set_chinapay(
            info.context.ports, scope=scope, project_id=project_id, merchant=merchant
        )
        return ChinapaySet(project=project, mer_id=mer_id)
