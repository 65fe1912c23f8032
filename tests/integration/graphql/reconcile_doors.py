"""The doors of bills, proofs and statements."""

from __future__ import annotations

from .door import Door, mutation

RECONCILE_DOORS = (
    Door(
        "Query.billDays",
        "project",
        "Project",
        "query($id: ID!) { answer: billDays(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.billItems",
        "day",
        "BillDay",
        "query($id: ID!) { answer: billItems(day: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.meterProofs",
        "project",
        "Project",
        "query($id: ID!) { answer: meterProofs(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Mutation.resolveBillItem",
        "id",
        "BillItem",
        mutation("$id: ID!", 'resolveBillItem(id: $id, note: "asked the bank")'),
        write=True,
    ),
    Door(
        "Mutation.closeBillDay",
        "id",
        "BillDay",
        mutation("$id: ID!", 'closeBillDay(id: $id, note: "all looked at")'),
        write=True,
    ),
    Door(
        "Mutation.resolveMeterDrift",
        "id",
        "MeterProof",
        mutation("$id: ID!", 'resolveMeterDrift(id: $id, note: "seal replaced")'),
        write=True,
    ),
)
