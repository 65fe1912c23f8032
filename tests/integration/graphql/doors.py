"""Every field that takes an id: the table that the IDOR tests run and the schema is held against."""

from __future__ import annotations

import secrets

from .alarm_doors import ALARM_DOORS
from .batch_doors import BATCH_DOORS
from .charge_doors import CHARGE_DOORS
from .door import PROBLEM as PROBLEM
from .door import Door as Door
from .door import digits, mutation, unique
from .dormitory_doors import DORMITORY_DOORS
from .forecast_doors import FORECAST_DOORS
from .message_doors import MESSAGE_DOORS
from .money_doors import MONEY_DOORS
from .occupancy_doors import OCCUPANCY_DOORS
from .reconcile_doors import RECONCILE_DOORS
from .supply_doors import SUPPLY_DOORS

DOORS = (
    Door("Query.project", "id", "Project", "query($id: ID!) { answer: project(id: $id) { id } }"),
    Door(
        "Query.account", "id", "Account", "query($id: ID!) { answer: account(id: $id) { id no } }"
    ),
    Door("Query.topUp", "id", "TopUp", "query($id: ID!) { answer: topUp(id: $id) { id } }"),
    Door("Query.node", "id", "Meter", "query($id: ID!) { answer: node(id: $id) { id } }"),
    Door(
        "Query.cases",
        "project",
        "Project",
        "query($id: ID!) { answer: cases(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Account.readings",
        "meter",
        "Meter",
        "query($a: ID!, $id: ID!) { account(id: $a) { answer: readings(meter: $id,"
        ' from: "2026-11-01T00:00:00Z", to: "2026-12-01T00:00:00Z") { at } } }',
        lambda mine: {"a": mine.Account},
    ),
    Door(
        "Query.meterUse",
        "meter",
        "Meter",
        "query($id: ID!) { answer: meterUse("
        'meter: $id, from: "2026-11-01", to: "2026-11-30") { used } }',
    ),
    Door(
        "Query.lostMeters",
        "project",
        "Project",
        "query($id: ID!) { answer: lostMeters(project: $id) { edges { node { since } } } }",
    ),
    Door(
        "Query.fieldEpisodes",
        "project",
        "Project",
        "query($id: ID!) { answer: fieldEpisodes(project: $id) { edges { node { kind } } } }",
    ),
    Door(
        "Mutation.setCollection",
        "project",
        "Project",
        mutation("$id: ID!", "setCollection(project: $id, sweepMinutes: 15, lostAfterSweeps: 4)"),
        write=True,
    ),
    Door(
        "Mutation.setEstimates",
        "project",
        "Project",
        mutation("$id: ID!", "setEstimates(project: $id, afterDays: 5)"),
        write=True,
    ),
    Door(
        "Mutation.addArea",
        "project",
        "Project",
        mutation("$id: ID!, $n: String!", "addArea(project: $id, name: $n)"),
        lambda _: {"n": unique()},
        write=True,
    ),
    Door(
        "Mutation.addArea",
        "parent",
        "Area",
        mutation("$p: ID!, $id: ID!, $n: String!", "addArea(project: $p, parent: $id, name: $n)"),
        lambda mine: {"p": mine.Project, "n": unique()},
        write=True,
    ),
    Door(
        "Mutation.openAccount",
        "area",
        "Area",
        mutation(
            "$id: ID!, $no: String!",
            'openAccount(area: $id, no: $no, name: "New", phone: "13700137000")',
        ),
        lambda _: {"no": digits()},
        write=True,
    ),
    Door(
        "Mutation.addGateway",
        "project",
        "Project",
        mutation(
            "$id: ID!, $s: String!",
            'addGateway(project: $id, serial: $s, name: "G", address: "127.0.0.1:502")',
        ),
        lambda _: {"s": unique()},
        write=True,
    ),
    Door(
        "Mutation.makeGatewayClaim",
        "gateway",
        "SealedGateway",
        mutation("$id: ID!", "makeGatewayClaim(gateway: $id)"),
        write=True,
    ),
    Door(
        "Mutation.rotateGatewayKeys",
        "gateway",
        "KeyedGateway",
        mutation("$id: ID!", "rotateGatewayKeys(gateway: $id)"),
        write=True,
    ),
    Door(
        "Mutation.revokeGatewayKeys",
        "gateway",
        "KeyedGateway",
        mutation("$id: ID!", 'revokeGatewayKeys(gateway: $id, reason: "stolen")'),
        write=True,
    ),
    Door(
        "Mutation.setGatewayDialIn",
        "gateway",
        "DialInGateway",
        mutation("$id: ID!, $r: String!", "setGatewayDialIn(gateway: $id, registration: $r)"),
        lambda _: {"r": unique()},
        write=True,
    ),
    Door(
        "Mutation.addMeter",
        "gateway",
        "Gateway",
        mutation(
            "$id: ID!, $s: String!, $b: String!",
            'addMeter(gateway: $id, serial: $s, profile: "DDSY1352-NK", busAddress: $b)',
        ),
        lambda _: {"s": unique(), "b": str(100 + secrets.randbelow(99))},
        write=True,
    ),
    Door(
        "Mutation.assignMeter",
        "meter",
        "FreeMeter",
        mutation("$id: ID!, $a: ID!", "assignMeter(meter: $id, account: $a)"),
        lambda mine: {"a": mine.Account},
        write=True,
    ),
    Door(
        "Mutation.assignMeter",
        "account",
        "Account",
        mutation("$m: ID!, $id: ID!", "assignMeter(meter: $m, account: $id)"),
        lambda mine: {"m": mine.FreeMeter},
        write=True,
    ),
    Door(
        "Mutation.commandMeter",
        "meter",
        "Meter",
        mutation("$id: ID!", 'commandMeter(meter: $id, kind: TRIP, reason: "moved out")'),
        write=True,
    ),
    Door(
        "Mutation.refreshMeter",
        "id",
        "Meter",
        mutation("$id: ID!", "refreshMeter(id: $id)"),
        write=True,
    ),
    Door(
        "Mutation.refreshProject",
        "id",
        "Project",
        mutation("$id: ID!", "refreshProject(id: $id)"),
        write=True,
    ),
    Door(
        "Mutation.grantRole",
        "operator",
        "Operator",
        mutation("$id: ID!", 'grantRole(operator: $id, role: "auditor")'),
        write=True,
        group_wide=True,
    ),
    Door(
        "Mutation.grantRole",
        "project",
        "Project",
        mutation("$o: ID!, $id: ID!", 'grantRole(operator: $o, role: "auditor", project: $id)'),
        lambda mine: {"o": mine.Operator},
        write=True,
        group_wide=True,
    ),
    Door(
        "Query.tariffs",
        "project",
        "Project",
        "query($id: ID!) { answer: tariffs(project: $id) { id } }",
    ),
    Door(
        "Query.priceUsage",
        "version",
        "TariffVersion",
        "query($id: ID!) { answer: priceUsage("
        'version: $id, use: [{quantity: "1"}], on: "2026-11-22") { total } }',
    ),
    Door(
        "Query.tariffWhatIf",
        "version",
        "TariffVersion",
        "query($id: ID!) { answer: tariffWhatIf(version: $id) { counted } }",
    ),
    Door(
        "Query.tariffChanges",
        "project",
        "Project",
        "query($id: ID!) { answer: tariffChanges(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.tariffChangeWhatIf",
        "change",
        "TariffChange",
        "query($id: ID!) { answer: tariffChangeWhatIf(change: $id) { counted } }",
    ),
    Door(
        "Mutation.proposeTariffChange",
        "tariff",
        "Tariff",
        mutation(
            "$id: ID!, $a: ID!",
            'proposeTariffChange(tariff: $id, accounts: [$a], startedAt: "2026-11-25T04:00:00Z")',
        ),
        lambda mine: {"a": mine.Account},
        write=True,
    ),
    Door(
        "Mutation.proposeTariffChange",
        "accounts",
        "Account",
        mutation(
            "$t: ID!, $id: ID!",
            'proposeTariffChange(tariff: $t, accounts: [$id], startedAt: "2026-11-25T04:00:00Z")',
        ),
        lambda mine: {"t": mine.Tariff},
        write=True,
    ),
    Door(
        "Mutation.approveTariffChange",
        "change",
        "TariffChange",
        mutation("$id: ID!", "approveTariffChange(change: $id)"),
        write=True,
    ),
    Door(
        "Mutation.rejectTariffChange",
        "change",
        "TariffChange",
        mutation("$id: ID!", 'rejectTariffChange(change: $id, note: "too dear")'),
        write=True,
    ),
    Door(
        "Query.priceLaggards",
        "project",
        "Project",
        "query($id: ID!) { answer: priceLaggards(project: $id) { edges { node { meter } } } }",
    ),
    Door(
        "Mutation.addTariff",
        "project",
        "Project",
        mutation("$id: ID!, $n: String!", "addTariff(project: $id, kind: WATER, name: $n)"),
        lambda _: {"n": unique()},
        write=True,
    ),
    Door(
        "Mutation.draftTariffVersion",
        "tariff",
        "Tariff",
        mutation(
            "$id: ID!",
            'draftTariffVersion(tariff: $id, effectiveAt: "2026-12-01T00:00:00Z",'
            ' terms: {seasons: [{prices: [{band: "flat", price: "0.60"}]}]})',
        ),
        write=True,
    ),
    Door(
        "Mutation.submitTariffVersion",
        "version",
        "TariffVersion",
        mutation("$id: ID!", "submitTariffVersion(version: $id)"),
        write=True,
    ),
    Door(
        "Mutation.approveTariffVersion",
        "version",
        "SubmittedVersion",
        mutation("$id: ID!", "approveTariffVersion(version: $id)"),
        write=True,
    ),
    Door(
        "Mutation.rejectTariffVersion",
        "version",
        "SubmittedVersion",
        mutation("$id: ID!", 'rejectTariffVersion(version: $id, note: "too dear")'),
        write=True,
    ),
    Door(
        "Mutation.assignTariff",
        "tariff",
        "Tariff",
        mutation(
            "$id: ID!, $a: ID!",
            'assignTariff(tariff: $id, accounts: [$a], startedAt: "2026-11-22T04:00:00Z")',
        ),
        lambda mine: {"a": mine.Account},
        write=True,
    ),
    Door(
        "Mutation.assignTariff",
        "accounts",
        "Account",
        mutation(
            "$t: ID!, $id: ID!",
            'assignTariff(tariff: $t, accounts: [$id], startedAt: "2026-11-22T04:00:00Z")',
        ),
        lambda mine: {"t": mine.Tariff},
        write=True,
    ),
    Door(
        "Mutation.resolveCase",
        "id",
        "Case",
        mutation("$id: ID!", 'resolveCase(id: $id, action: NOTE, note: "looked at it")'),
        write=True,
    ),
    *ALARM_DOORS,
    *MESSAGE_DOORS,
    *BATCH_DOORS,
    *MONEY_DOORS,
    *OCCUPANCY_DOORS,
    *RECONCILE_DOORS,
    *CHARGE_DOORS,
    *SUPPLY_DOORS,
    *DORMITORY_DOORS,
    *FORECAST_DOORS,
)

# Held by tests of their own, for what surrounds them (a merchant's keys, a link, a socket).
ELSEWHERE = {
    "Mutation.confirmBatch(batch)": "test_batches.py",
    "Mutation.cashierTopUp(account)": "test_cashier.py",
    "Mutation.cashierTopUp(meter)": "test_cashier.py",
    "Mutation.startTopUpByLink(meter)": "test_pay_link.py",
    "Mutation.handOverShift(shift)": "test_cashier.py",
    "Mutation.handOverShift(to)": "test_cashier.py",
    "Mutation.payOutRefund(refund)": "test_cashier.py",
    "Mutation.setAlipay(project)": "test_merchants.py",
    "Mutation.setWechatPay(project)": "test_merchants.py",
    "Mutation.setUnionpay(project)": "test_bank_accounts.py",
    "Mutation.setChinapay(project)": "test_bank_accounts.py",
    "Query.dailyStatement(project)": "test_reconcile.py",
    "Query.topUpByLink(id)": "test_pay_link.py",
    "Subscription.alarmRaised(project)": "test_alarms.py",
    "Subscription.batchChanged(id)": "test_batches.py",
    "Subscription.topUpChanged(id)": "test_live.py",
    "Subscription.topUpByLinkChanged(id)": "test_live.py",
}
