"""The doors of refunds, cash desks and receipts."""

from __future__ import annotations

from .door import Door, mutation, unique

MONEY_DOORS = (
    Door(
        "Query.refunds",
        "project",
        "Project",
        "query($id: ID!) { answer: refunds(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.refundable",
        "topUp",
        "PaidTopUp",
        "query($id: ID!) { answer: refundable(topUp: $id) { most } }",
    ),
    Door(
        "Query.receipt",
        "topUp",
        "PaidTopUp",
        "query($id: ID!) { answer: receipt(topUp: $id) { ticket } }",
    ),
    Door(
        "Query.shifts",
        "project",
        "Project",
        "query($id: ID!) { answer: shifts(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Mutation.requestRefund",
        "topUp",
        "PaidTopUp",
        mutation(
            "$id: ID!, $k: String!",
            'requestRefund(topUp: $id, amount: "1", reason: "moved out", idempotencyKey: $k)',
        ),
        lambda _: {"k": unique()},
        write=True,
    ),
    Door(
        "Mutation.approveRefund",
        "refund",
        "Refund",
        mutation("$id: ID!", "approveRefund(refund: $id)"),
        write=True,
    ),
    Door(
        "Mutation.refuseRefund",
        "refund",
        "Refund",
        mutation("$id: ID!", 'refuseRefund(refund: $id, note: "not his shop")'),
        write=True,
    ),
    Door(
        "Mutation.correctTopUp",
        "topUp",
        "PaidTopUp",
        mutation(
            "$id: ID!, $a: ID!", 'correctTopUp(topUp: $id, account: $a, reason: "wrong room")'
        ),
        lambda mine: {"a": mine.RightAccount},
        write=True,
    ),
    Door(
        "Mutation.correctTopUp",
        "account",
        "RightAccount",
        mutation(
            "$t: ID!, $id: ID!", 'correctTopUp(topUp: $t, account: $id, reason: "wrong room")'
        ),
        lambda mine: {"t": mine.PaidTopUp},
        write=True,
    ),
    Door(
        "Mutation.setRefundLimit",
        "project",
        "Project",
        mutation("$id: ID!", 'setRefundLimit(project: $id, alone: "50")'),
        write=True,
    ),
    Door(
        "Mutation.openShift",
        "project",
        "Project",
        mutation("$id: ID!, $d: String!", 'openShift(project: $id, desk: $d, change: "50")'),
        lambda _: {"d": unique()},
        write=True,
    ),
    Door(
        "Mutation.closeShift",
        "shift",
        "Shift",
        mutation("$id: ID!", 'closeShift(shift: $id, counted: "100")'),
        write=True,
    ),
    Door(
        "Mutation.printReceipt",
        "topUp",
        "PaidTopUp",
        mutation("$id: ID!", "printReceipt(topUp: $id)"),
        write=True,
    ),
)
