-- Alarms: an episode from the crossing until the cause is gone, and the levels they are measured by (A22, C27).

-- What customers are warned at unless a meter has levels of its own, in hao; at the second a cut is near. More
-- power than `overload_w` is an alarm; NULL: none is.
ALTER TABLE tenancy_project
    ADD COLUMN low_1_hao bigint NOT NULL DEFAULT 200000,
    ADD COLUMN low_2_hao bigint NOT NULL DEFAULT 50000,
    ADD COLUMN overload_w integer CHECK (overload_w > 0),
    ADD CONSTRAINT tenancy_project_levels CHECK (0 <= low_2_hao AND low_2_hao <= low_1_hao);

-- A meter's own levels; NULL: as its project says.
CREATE TABLE alerts_levels (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    project_id uuid NOT NULL,
    low_1_hao bigint,
    low_2_hao bigint,
    overload_w integer CHECK (overload_w > 0),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, meter_id),
    CHECK (num_nulls(low_1_hao, low_2_hao) IN (0, 2)),
    CHECK (low_1_hao IS NULL OR (0 <= low_2_hao AND low_2_hao <= low_1_hao)),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CALL isolate_tenant_table('alerts_levels', 'SELECT, INSERT, UPDATE, DELETE');

-- How often a meter said that its cover was opened, of those that tell it.
CREATE TABLE alerts_cover (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    opens integer NOT NULL CHECK (opens >= 0),
    told_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, meter_id),
    FOREIGN KEY (group_id, meter_id) REFERENCES metering_meter (group_id, id)
);
CALL isolate_tenant_table('alerts_cover', 'SELECT, INSERT, UPDATE');

-- `level`: 1 notice, 2 warning, 3 urgent. `detail`: the values as they were seen last. `until_seen`: of what
-- happened and is over; it stands until somebody acknowledges it.
CREATE TABLE alerts_alarm (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'LOW_1', 'LOW_2', 'ARREARS', 'DAYS_LEFT', 'OVERLOAD', 'MALIGNANT_LOAD', 'TAMPER', 'REVERSE',
        'CLOCK_DRIFT', 'METER_LOST', 'GATEWAY_LOST', 'COUNT_MISMATCH', 'DRIFT', 'TARIFF_LAG',
        'PAYMENT_EXCEPTION')),
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 3),
    subject text NOT NULL CHECK (subject <> ''),
    account_id uuid,
    meter_id uuid,
    gateway_id uuid,
    detail jsonb NOT NULL,
    until_seen boolean NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz CHECK (ended_at >= began_at),
    ended_why text CHECK (ended_why <> ''),
    acknowledged_at timestamptz,
    acknowledged_by text,
    note text CHECK (length(note) BETWEEN 4 AND 200),
    PRIMARY KEY (group_id, id),
    CHECK (num_nulls(ended_at, ended_why) IN (0, 2)),
    CHECK (num_nulls(acknowledged_at, acknowledged_by, note) IN (0, 3)),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, account_id) REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, gateway_id) REFERENCES metering_gateway (group_id, project_id, id)
);
CREATE UNIQUE INDEX alerts_alarm_open ON alerts_alarm (group_id, kind, subject) WHERE ended_at IS NULL;
CREATE INDEX alerts_alarm_live ON alerts_alarm (group_id, project_id, id DESC) WHERE ended_at IS NULL;
CREATE INDEX alerts_alarm_history ON alerts_alarm (group_id, project_id, id DESC);
CALL isolate_tenant_table('alerts_alarm', 'SELECT, INSERT, UPDATE');
