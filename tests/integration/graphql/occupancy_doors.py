"""The doors of opening, moving, closing and taking meters down."""

from __future__ import annotations

from .door import Door, digits, mutation, unique

_WHY = 'reason: "they move out", idempotencyKey: $k'


def _key(_: object) -> dict[str, object]:
    return {"k": unique()}


OCCUPANCY_DOORS = (
    Door(
        "Query.accountChanges",
        "account",
        "HousedAccount",
        "query($id: ID!) { answer: accountChanges(account: $id) { takedowns { id } } }",
    ),
    Door(
        "Mutation.openHousehold",
        "area",
        "Area",
        mutation(
            "$id: ID!, $no: String!, $k: String!",
            'openHousehold(area: $id, no: $no, name: "New", phone: "13700137000", meters: [],'
            " idempotencyKey: $k)",
        ),
        lambda _: {"no": digits(), "k": unique()},
        write=True,
    ),
    Door(
        "Mutation.replaceMeter",
        "meter",
        "ServingMeter",
        mutation("$id: ID!, $k: String!", f"replaceMeter(meter: $id, {_WHY})"),
        _key,
        write=True,
    ),
    Door(
        "Mutation.replaceMeter",
        "to",
        "NextMeter",
        mutation("$m: ID!, $id: ID!, $k: String!", f"replaceMeter(meter: $m, to: $id, {_WHY})"),
        lambda mine: {"m": mine.ServingMeter, "k": unique()},
        write=True,
    ),
    Door(
        "Mutation.nameNextMeter",
        "takedown",
        "Takedown",
        mutation("$id: ID!, $m: ID!", "nameNextMeter(takedown: $id, to: $m)"),
        lambda mine: {"m": mine.NextMeter},
        write=True,
    ),
    Door(
        "Mutation.nameNextMeter",
        "to",
        "NextMeter",
        mutation("$t: ID!, $id: ID!", "nameNextMeter(takedown: $t, to: $id)"),
        lambda mine: {"t": mine.Takedown},
        write=True,
    ),
    Door(
        "Mutation.typeLastWord",
        "takedown",
        "Takedown",
        mutation(
            "$id: ID!",
            'typeLastWord(takedown: $id, total: "0.000", remaining: "0", purchaseNo: 0,'
            ' note: "by the book")',
        ),
        write=True,
    ),
    Door(
        "Mutation.decideTyped",
        "takedown",
        "TypedTakedown",
        mutation("$id: ID!", "decideTyped(takedown: $id, agrees: true)"),
        write=True,
    ),
    Door(
        "Mutation.cancelTakedown",
        "takedown",
        "Takedown",
        mutation("$id: ID!", 'cancelTakedown(takedown: $id, note: "it works again")'),
        write=True,
    ),
    Door(
        "Mutation.moveAccount",
        "account",
        "HousedAccount",
        mutation(
            "$id: ID!, $a: ID!, $k: String!",
            f"moveAccount(account: $id, area: $a, meters: [], {_WHY})",
        ),
        lambda mine: {"a": mine.Area, "k": unique()},
        write=True,
    ),
    Door(
        "Mutation.moveAccount",
        "area",
        "Area",
        mutation(
            "$h: ID!, $id: ID!, $k: String!",
            f"moveAccount(account: $h, area: $id, meters: [], {_WHY})",
        ),
        lambda mine: {"h": mine.HousedAccount, "k": unique()},
        write=True,
    ),
    Door(
        "Mutation.closeAccount",
        "account",
        "HousedAccount",
        mutation("$id: ID!, $k: String!", f"closeAccount(account: $id, {_WHY})"),
        _key,
        write=True,
    ),
    Door(
        "Mutation.resumeClosing",
        "closing",
        "Closing",
        mutation("$id: ID!", "resumeClosing(closing: $id)"),
        write=True,
    ),
    Door(
        "Mutation.cancelClosing",
        "closing",
        "Closing",
        mutation("$id: ID!", 'cancelClosing(closing: $id, note: "they stay")'),
        write=True,
    ),
)
