-- Commands (指令): an operator's order to one meter, with a life of its own (C19, C22; backend/control).

-- `settings`: what PRICES (hao per kWh by band) or THRESHOLDS (hao, overload_w in W) are to be.
-- `sent_at`: when the last write was announced, before it left; `accepted_at`: when the meter answered
-- that it took that write. `relay_before` is the relay before the first write, `relay_after` at the end.
CREATE TABLE control_command (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'TRIP', 'ALLOW_CLOSE', 'CLOSE', 'KEEP_POWER', 'RELEASE', 'SYNC_CLOCK', 'PRICES', 'THRESHOLDS')),
    family text NOT NULL CHECK (family IN ('RELAY', 'CLOCK', 'PRICES', 'THRESHOLDS')),
    settings jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL CHECK (state IN (
        'QUEUED', 'SENT', 'VERIFIED', 'FAILED', 'EXPIRED', 'SUPERSEDED')),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    requested_by text NOT NULL CHECK (requested_by <> ''),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > issued_at),
    started_at timestamptz,
    writes smallint NOT NULL DEFAULT 0 CHECK (writes >= 0),
    sent_at timestamptz CHECK ((sent_at IS NULL) = (writes = 0)),
    accepted_at timestamptz CHECK (accepted_at IS NULL OR sent_at IS NOT NULL),
    finished_at timestamptz CHECK ((finished_at IS NULL) = (state IN ('QUEUED', 'SENT'))),
    relay_before smallint CHECK (relay_before IN (0, 1)),
    relay_after smallint CHECK (relay_after IN (0, 1)),
    outcome text,
    CHECK (state <> 'VERIFIED' OR sent_at IS NOT NULL),
    CHECK (state <> 'QUEUED' OR sent_at IS NULL),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
-- One unfinished command of a family per meter: a newer one supersedes it (C22).
CREATE UNIQUE INDEX control_command_unfinished ON control_command (group_id, meter_id, family)
    WHERE state IN ('QUEUED', 'SENT');
CREATE INDEX control_command_newest ON control_command (group_id, meter_id, id DESC);
CALL isolate_tenant_table('control_command', 'SELECT, INSERT, UPDATE');
