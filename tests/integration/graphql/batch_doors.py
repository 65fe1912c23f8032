"""The doors of batches, labels and the export."""

from __future__ import annotations

from .door import Door, mutation

_PREPARE = 'kind: SYNC_CLOCK, reason: "summer is over"'

BATCH_DOORS = (
    Door(
        "Query.batches",
        "project",
        "Project",
        "query($id: ID!) { answer: batches(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.meterTags",
        "project",
        "Project",
        "query($id: ID!) { answer: meterTags(project: $id) { tag meters } }",
    ),
    Door(
        "Query.meters",
        "project",
        "Project",
        "query($id: ID!) { answer: meters(project: $id) { edges { node { id } } } }",
    ),
    Door(
        "Query.meters",
        "areas",
        "Area",
        "query($p: ID!, $id: ID!) { answer: meters(project: $p, areas: [$id]) { edges { cursor } } }",
        lambda mine: {"p": mine.Project},
    ),
    Door(
        "Mutation.prepareBatch",
        "project",
        "Project",
        mutation("$id: ID!", f"prepareBatch(project: $id, states: [OPENED], {_PREPARE})"),
        write=True,
    ),
    Door(
        "Mutation.prepareBatch",
        "areas",
        "Area",
        mutation("$p: ID!, $id: ID!", f"prepareBatch(project: $p, areas: [$id], {_PREPARE})"),
        lambda mine: {"p": mine.Project},
        write=True,
    ),
    Door(
        "Mutation.ruleBatch",
        "batch",
        "WaitingBatch",
        mutation("$id: ID!", "ruleBatch(batch: $id, approved: false)"),
        write=True,
    ),
    Door(
        "Mutation.pauseBatch",
        "batch",
        "Batch",
        mutation("$id: ID!", "pauseBatch(batch: $id)"),
        write=True,
    ),
    Door(
        "Mutation.resumeBatch",
        "batch",
        "PausedBatch",
        mutation("$id: ID!", "resumeBatch(batch: $id)"),
        write=True,
    ),
    Door(
        "Mutation.cancelBatch",
        "batch",
        "Batch",
        mutation("$id: ID!", "cancelBatch(batch: $id)"),
        write=True,
    ),
    Door(
        "Mutation.retryBatch",
        "batch",
        "FailedBatch",
        mutation("$id: ID!", "retryBatch(batch: $id)"),
        write=True,
    ),
    Door(
        "Mutation.tagMeters",
        "meters",
        "Meter",
        mutation("$id: ID!", 'tagMeters(meters: [$id], tag: "corridor")'),
        write=True,
    ),
    Door(
        "Mutation.setBatchLimit",
        "project",
        "Project",
        mutation("$id: ID!", "setBatchLimit(project: $id, alone: 20)"),
        write=True,
    ),
    Door(
        "Mutation.exportMeters",
        "project",
        "Project",
        mutation("$id: ID!", "exportMeters(project: $id)"),
        write=True,
    ),
)
