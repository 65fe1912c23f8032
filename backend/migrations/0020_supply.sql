-- Supply: what operators want of a meter, what is protected, what the cloud made of its relay, and every
-- decision with what it was taken from (C19-C23; backend/control/supply_rules.py).

-- Why a command was given, in the words of Why: NULL for one that belongs to another business.
ALTER TABLE control_command ADD COLUMN why text CHECK (why <> '');
-- How many trips a project was given in the last hour.
CREATE INDEX control_command_trips ON control_command (group_id, project_id, issued_at)
    WHERE kind = 'TRIP';

-- A row for each meter that somebody wanted something of. `policy_until`: then it is AUTO again.
-- `review_at`: when a person looks whether the protection is still needed; it never ends by itself.
-- `force`: what the cloud made of the relay, verified, and has not taken back; for what in `force_why`.
CREATE TABLE control_supply (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    project_id uuid NOT NULL,
    policy text NOT NULL DEFAULT 'AUTO' CHECK (policy IN ('AUTO', 'KEEP_ON', 'FORCED_OFF')),
    policy_until timestamptz CHECK (policy <> 'AUTO' OR policy_until IS NULL),
    policy_reason text,
    policy_by text,
    policy_at timestamptz,
    protected_reason text CHECK (length(protected_reason) BETWEEN 4 AND 200),
    protected_by text,
    protected_at timestamptz,
    review_at timestamptz,
    emergency_reason text CHECK (length(emergency_reason) BETWEEN 4 AND 200),
    emergency_by text,
    emergency_at timestamptz,
    force text CHECK (force IN ('TRIP', 'KEEP_POWER')),
    force_why text,
    want text CHECK (want IN ('ON', 'OFF', 'AS_IS')),
    why text,
    command text,
    decided_at timestamptz,
    PRIMARY KEY (group_id, meter_id),
    CHECK (policy = 'AUTO' OR num_nulls(policy_reason, policy_by, policy_at) = 0),
    CHECK (num_nulls(protected_reason, protected_by, protected_at, review_at) IN (0, 4)),
    CHECK (num_nulls(emergency_reason, emergency_by, emergency_at) IN (0, 3)),
    CHECK (num_nulls(force, force_why) IN (0, 2)),
    CHECK (num_nulls(want, why, decided_at) IN (0, 3)),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
-- What the look of each minute goes through.
CREATE INDEX control_supply_wanted ON control_supply (group_id, meter_id)
    WHERE policy <> 'AUTO' OR protected_at IS NOT NULL OR emergency_at IS NOT NULL OR force IS NOT NULL;
CALL isolate_tenant_table('control_supply', 'SELECT, INSERT, UPDATE');

-- What needs a second operator: the end of a protection, a trip in an emergency.
CREATE TABLE control_request (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('END_PROTECTION', 'EMERGENCY_TRIP')),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    asked_by text NOT NULL,
    asked_name text NOT NULL,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > asked_at),
    state text NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'APPROVED', 'REFUSED')),
    ruled_by text CHECK (ruled_by <> asked_by OR state = 'REFUSED'),
    ruled_name text,
    ruled_at timestamptz,
    CHECK ((state = 'OPEN') = (num_nulls(ruled_by, ruled_name, ruled_at) = 3)),
    CHECK (num_nulls(ruled_by, ruled_name, ruled_at) IN (0, 3)),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CREATE INDEX control_request_project ON control_request (group_id, project_id, id DESC);
CREATE INDEX control_request_meter ON control_request (group_id, meter_id, id DESC);
CALL isolate_tenant_table('control_request', 'SELECT, INSERT, UPDATE');

-- Decisions where they changed, with all that they were taken from.
CREATE TABLE control_decision (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    decided_at timestamptz NOT NULL,
    want text NOT NULL,
    why text NOT NULL,
    held_back text[] NOT NULL,
    command text,
    inputs jsonb NOT NULL,
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CREATE INDEX control_decision_meter ON control_decision (group_id, meter_id, id DESC);
CALL isolate_tenant_table('control_decision', 'SELECT, INSERT');
