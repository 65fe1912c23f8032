"""The doors of supply: protection, emergencies, the word of a second operator."""

from __future__ import annotations

from .door import Door, mutation

SUPPLY_DOORS = (
    Door(
        "Query.policyDryRun",
        "project",
        "Project",
        "query($id: ID!) { answer: policyDryRun(project: $id, draft: {}) { lookedAt } }",
    ),
    Door(
        "Query.supplyRequests",
        "project",
        "Project",
        "query($id: ID!) { answer: supplyRequests(project: $id) { id } }",
    ),
    Door(
        "Query.policyDryRun",
        "creditClass",
        "CreditClass",
        "query($p: ID!, $id: ID!) { answer: policyDryRun(project: $p, draft: {}, creditClass: $id) {"
        " lookedAt } }",
        lambda mine: {"p": mine.Project},
    ),
    Door(
        "Query.timetableDryRun",
        "project",
        "Project",
        "query($id: ID!) { answer: timetableDryRun(project: $id, plans: [{kind: WORKDAY, slots: ["
        '{start: "00:00", on: false}, {start: "06:00", on: true}]}]) { no } }',
    ),
    Door(
        "Mutation.protectMeter",
        "meter",
        "FreeMeter",
        mutation(
            "$id: ID!",
            'protectMeter(meter: $id, reason: "a lift", reviewAt: "2026-12-24T00:00:00Z")',
        ),
        write=True,
    ),
    Door(
        "Mutation.askToEndProtection",
        "meter",
        "ProtectedMeter",
        mutation("$id: ID!", 'askToEndProtection(meter: $id, reason: "the lift is gone")'),
        write=True,
    ),
    Door(
        "Mutation.askForEmergencyTrip",
        "meter",
        "ProtectedMeter",
        mutation("$id: ID!", 'askForEmergencyTrip(meter: $id, reason: "smoke in the shaft")'),
        write=True,
    ),
    Door(
        "Mutation.ruleSupplyRequest",
        "request",
        "SupplyRequest",
        mutation("$id: ID!", "ruleSupplyRequest(request: $id, approved: true)"),
        write=True,
    ),
    Door(
        "Mutation.endEmergency",
        "meter",
        "EmergencyMeter",
        mutation("$id: ID!", 'endEmergency(meter: $id, reason: "the shaft is clear")'),
        write=True,
    ),
)
