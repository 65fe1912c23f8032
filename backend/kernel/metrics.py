"""Counters of the process, scraped as Prometheus text from /metrics. Labels never name a tenant."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

NOTICES = Counter("shuidian_payment_notices", "Payment notices by outcome", ["channel", "outcome"])
TOPUPS = Counter("shuidian_topups", "Top-up orders by step reached", ["step"])
REFUNDS = Counter("shuidian_refunds", "Refunds by step reached", ["step"])
VENDS = Counter("shuidian_vends", "Vends by outcome", ["outcome"])
EVENTS = Counter(
    "shuidian_outbox_events", "Outbox events by topic and outcome", ["topic", "outcome"]
)
CHARGES = Counter("shuidian_charges", "Charges of CLOUD meters posted")
READINGS = Counter("shuidian_readings", "Readings by outcome", ["outcome"])
CASES = Counter("shuidian_exception_cases", "Exception cases opened", ["kind"])
BOT_MESSAGES = Counter("shuidian_bot_messages", "Bot messages by outcome", ["outcome"])
GRAPHQL_SECONDS = Histogram("shuidian_graphql_seconds", "GraphQL operations", ["kind"])
DIAL_INS = Counter("shuidian_dial_ins", "Connections that dialled in", ["link", "outcome"])
DIAL_IN_UPLOADS = Counter("shuidian_dial_in_uploads", "Values sent unasked", ["link", "outcome"])
LINES = Gauge("shuidian_lines", "Dialled-in lines that this process holds")
SWEEP_SECONDS = Histogram("shuidian_sweep_gateway_seconds", "One gateway's sweep")
OUTBOX_OLDEST_SECONDS = Gauge(
    "shuidian_outbox_oldest_seconds", "Age of the oldest due event that no worker has"
)
