"""The doors of forecasts: whose money ends first, how far off they were, when customers are warned."""

from __future__ import annotations

from .door import Door, mutation

FORECAST_DOORS = (
    Door(
        "Query.runningOut",
        "project",
        "Project",
        "query($id: ID!) { answer: runningOut(project: $id) { no } }",
    ),
    Door(
        "Query.forecastDays",
        "project",
        "Project",
        "query($id: ID!) { answer: forecastDays(project: $id) { day } }",
    ),
    Door(
        "Mutation.setDaysLeftWarning",
        "project",
        "Project",
        mutation("$id: ID!", "setDaysLeftWarning(project: $id, daysLeft: 5)"),
        write=True,
    ),
)
