"""The doors of charges and credit classes."""

from __future__ import annotations

from .door import Door, mutation, unique

CHARGE_DOORS = (
    Door(
        "Query.charges",
        "account",
        "ChargedAccount",
        "query($id: ID!) { answer: charges(account: $id) { edges { node { id total } } } }",
    ),
    Door(
        "Query.explainCharge",
        "id",
        "Charge",
        "query($id: ID!) { answer: explainCharge(id: $id) { agrees } }",
    ),
    Door(
        "Query.creditClasses",
        "project",
        "Project",
        "query($id: ID!) { answer: creditClasses(project: $id) { name } }",
    ),
    Door(
        "Mutation.reRate",
        "account",
        "ChargedAccount",
        mutation("$id: ID!", 'reRate(account: $id, kind: ELECTRICITY, from: "2026-11-22")'),
        write=True,
    ),
    Door(
        "Mutation.ruleBillingHold",
        "meter",
        "HeldMeter",
        mutation("$id: ID!", 'ruleBillingHold(meter: $id, ruling: IGNORE, note: "a bad frame")'),
        write=True,
    ),
    Door(
        "Mutation.estimateUse",
        "meter",
        "SilentMeter",
        mutation("$id: ID!", "estimateUse(meter: $id)"),
        write=True,
    ),
    Door(
        "Mutation.saveCreditClass",
        "project",
        "Project",
        mutation(
            "$id: ID!, $n: String!",
            'saveCreditClass(project: $id, name: $n, overdraft: "5", emergency: "3",'
            ' monthlyGrant: "0")',
        ),
        lambda _: {"n": unique()},
        write=True,
    ),
    Door(
        "Mutation.setCreditClass",
        "account",
        "ChargedAccount",
        mutation("$id: ID!, $c: ID!", "setCreditClass(account: $id, creditClass: $c)"),
        lambda mine: {"c": mine.CreditClass},
        write=True,
    ),
    Door(
        "Mutation.setCreditClass",
        "creditClass",
        "CreditClass",
        mutation("$a: ID!, $id: ID!", "setCreditClass(account: $a, creditClass: $id)"),
        lambda mine: {"a": mine.ChargedAccount},
        write=True,
    ),
    Door(
        "Mutation.drawEmergencyCredit",
        "account",
        "ChargedAccount",
        mutation("$id: ID!", "drawEmergencyCredit(account: $id)"),
        write=True,
    ),
    Door(
        "Mutation.sharePurse",
        "account",
        "JoiningAccount",
        mutation("$id: ID!, $o: ID!", 'sharePurse(account: $id, owner: $o, reason: "one family")'),
        lambda mine: {"o": mine.ChargedAccount},
        write=True,
    ),
    Door(
        "Mutation.sharePurse",
        "owner",
        "ChargedAccount",
        mutation("$a: ID!, $id: ID!", 'sharePurse(account: $a, owner: $id, reason: "one family")'),
        lambda mine: {"a": mine.JoiningAccount},
        write=True,
    ),
    Door(
        "Mutation.partPurse",
        "account",
        "SharingAccount",
        mutation("$id: ID!", 'partPurse(account: $id, reason: "moved out")'),
        write=True,
    ),
)
