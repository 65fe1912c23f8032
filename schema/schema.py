"""All domains as one schema, and its printed form."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionContext
from strawberry.types.graphql import OperationType

from backend.kernel.errors import DomainError

from .accounts import AccountMutations, AccountQueries
from .alarms import AlarmMutations, AlarmQueries, AlarmSubscriptions
from .audit import AuditQueries
from .bank_accounts import BankAccountMutations
from .batches import BatchMutations, BatchQueries, BatchSubscriptions
from .calendars import CalendarMutations, CalendarQueries
from .cases import CaseMutations, CaseQueries
from .cashier import CashierMutations, CashierQueries
from .charges import ChargeMutations, ChargeQueries
from .commands import CommandMutations
from .context import Context
from .dial_in import DialInMutations
from .dormitory import DormitoryMutations, DormitoryQueries
from .dry_run import DryRunQueries
from .exports import ExportMutations
from .forecasts import ForecastMutations, ForecastQueries
from .gateway_keys import GatewayKeyMutations
from .history import HistoryQueries
from .limits import Documents
from .load_runs import LoadRunQueries
from .merchants import MerchantMutations
from .messages import MessageMutations, MessageQueries
from .meter_list import MeterListQueries
from .meter_marks import MeterMarkQueries
from .meter_prices import MeterPriceQueries
from .meters import MeterMutations
from .models import ModelQueries
from .objects import NodeQueries
from .occupancy import OccupancyMutations, OccupancyQueries
from .operators import OperatorMutations
from .paylink import PayLinkMutations, PayLinkQueries, PayLinkSubscriptions
from .problems import ProblemOf, details
from .projects import ProjectMutations, ProjectQueries
from .reconcile import ReconcileMutations, ReconcileQueries
from .refunds import RefundMutations, RefundQueries
from .scalars import SCALARS
from .session import SessionMutations, SessionQueries
from .supply import SupplyMutations, SupplyQueries
from .takedowns import TakedownMutations
from .tariff_changes import TariffChangeMutations, TariffChangeQueries
from .tariffs import TariffMutations, TariffQueries
from .timetables import TimetableMutations, TimetableQueries
from .topups import TopUpQueries, TopUpSubscriptions
from .valves import ValveMutations, ValveQueries
from .webhooks import WebhookMutations, WebhookQueries
from .what_if import WhatIfQueries

log = logging.getLogger(__name__)
_OF_THE_DOCUMENT = (GraphQLError, CannotGetOperationTypeError, InvalidOperationTypeError)
SDL_FILE = Path(__file__).with_name("schema.graphql")


@strawberry.type
class Query(
    SessionQueries,
    ProjectQueries,
    AccountQueries,
    OccupancyQueries,
    TopUpQueries,
    RefundQueries,
    CashierQueries,
    ChargeQueries,
    TariffQueries,
    TariffChangeQueries,
    WhatIfQueries,
    MeterPriceQueries,
    SupplyQueries,
    BatchQueries,
    MeterListQueries,
    MeterMarkQueries,
    CalendarQueries,
    TimetableQueries,
    DormitoryQueries,
    LoadRunQueries,
    ValveQueries,
    ForecastQueries,
    DryRunQueries,
    CaseQueries,
    AlarmQueries,
    MessageQueries,
    WebhookQueries,
    AuditQueries,
    HistoryQueries,
    PayLinkQueries,
    ModelQueries,
    ReconcileQueries,
    NodeQueries,
):
    """Reads."""


@strawberry.type
class Mutation(
    SessionMutations,
    ProjectMutations,
    AccountMutations,
    OccupancyMutations,
    TakedownMutations,
    MeterMutations,
    CommandMutations,
    SupplyMutations,
    BatchMutations,
    ExportMutations,
    CalendarMutations,
    TimetableMutations,
    DormitoryMutations,
    ValveMutations,
    ForecastMutations,
    TariffMutations,
    TariffChangeMutations,
    OperatorMutations,
    MerchantMutations,
    BankAccountMutations,
    GatewayKeyMutations,
    DialInMutations,
    RefundMutations,
    CashierMutations,
    ChargeMutations,
    CaseMutations,
    AlarmMutations,
    MessageMutations,
    WebhookMutations,
    ReconcileMutations,
    PayLinkMutations,
):
    """Writes."""


@strawberry.type
class Subscription(
    TopUpSubscriptions, PayLinkSubscriptions, AlarmSubscriptions, BatchSubscriptions
):
    """Live."""


class GuardedSchema(strawberry.Schema):
    """Tells callers what they may know of an error, and the log what went wrong, never the document."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Replace each error in place by what is told; runs before every answer, streamed ones too."""
        context = execution_context.context if execution_context else None
        errors[:] = [_told(error, context) for error in errors]

    async def stream(self, query: str | None, *args: Any, **given: Any) -> StreamResult:
        """A WebSocket carries subscriptions only: the rest goes by HTTP, where every request has its
        own context."""
        given.setdefault("allowed_operation_types", {OperationType.SUBSCRIPTION})
        return await super().stream(query, *args, **given)


def _told(error: GraphQLError, context: Context | None) -> GraphQLError:
    """An anticipated failure by code and message; the document's own mistakes as they are, without
    suggestions of names; anything else only as `Unexpected error.`"""
    cause = error.original_error
    if isinstance(cause, DomainError):
        extra = {_camel(name): value for name, value in details(cause).items()}
        return _rewritten(error, cause.message, {"code": cause.code, **extra})
    if cause is None or isinstance(cause, _OF_THE_DOCUMENT):
        error.message = error.message.split(" Did you mean ")[0]
        return error
    told: dict[str, Any] = {"code": "INTERNAL"}
    if context is not None:
        told["requestId"] = context.request_id
    fields = {"path": ".".join(map(str, error.path or ())), **told}
    log.error("graphql fault", extra={"fields": fields}, exc_info=cause)
    return _rewritten(error, "Unexpected error.", told)


def _rewritten(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions=extensions)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@cache
def make_schema() -> GuardedSchema:
    """The schema of the product, made once: it knows nothing of whom it serves."""
    return GuardedSchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[Documents],
        exception_handlers=[ProblemOf()],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True),
    )


def print_schema() -> str:
    """The schema in GraphQL's own language, as schema.graphql keeps it."""
    return make_schema().as_str() + "\n"
