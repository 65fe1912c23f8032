-- What meters do to their relays by rules of their own, and what they are told of their circuits' loads (A24;
-- backend/control/supply_rules.py, load_rules.py).

-- A control of the meter's own holds its relay open, as it told at `own_cut_at`.
ALTER TABLE control_supply
    ADD COLUMN own_cut text CHECK (own_cut IN ('OVERLOAD', 'MALIGNANT_LOAD', 'TIMETABLE')),
    ADD COLUMN own_cut_at timestamptz,
    ADD CHECK (num_nulls(own_cut, own_cut_at) IN (0, 2));
CREATE INDEX control_supply_own_cut ON control_supply (group_id, meter_id) WHERE own_cut IS NOT NULL;

-- `by_meter`: the meter tripped, and ends it, by itself.
ALTER TABLE control_safety_trip ADD COLUMN by_meter boolean NOT NULL DEFAULT false;

-- `by_meter`: meters that can are told the rule and run it; the cloud runs it for the others.
ALTER TABLE control_load_guard ADD COLUMN by_meter boolean NOT NULL DEFAULT false;

ALTER TABLE control_command
    DROP CONSTRAINT control_command_kind_check,
    DROP CONSTRAINT control_command_family_check,
    ADD CONSTRAINT control_command_kind_check CHECK (kind IN (
        'TRIP', 'ALLOW_CLOSE', 'CLOSE', 'KEEP_POWER', 'RELEASE', 'SYNC_CLOCK', 'PRICES', 'THRESHOLDS',
        'LOAD_LIMITS')),
    ADD CONSTRAINT control_command_family_check CHECK (family IN (
        'RELAY', 'CLOCK', 'PRICES', 'THRESHOLDS', 'LOAD_LIMITS'));

-- What each meter's load control is to be, and was read back to be: `on` 1 with its limits, or 0 alone.
CREATE TABLE control_meter_limits (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    desired jsonb NOT NULL,
    desired_at timestamptz NOT NULL,
    actual jsonb,
    actual_at timestamptz,
    command_id uuid,
    tries smallint NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try_at timestamptz NOT NULL,
    problem text,
    CHECK (num_nulls(actual, actual_at) IN (0, 2)),
    PRIMARY KEY (group_id, meter_id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, command_id) REFERENCES control_command (group_id, id)
);
CREATE INDEX control_meter_limits_lagging ON control_meter_limits (group_id, next_try_at)
    WHERE actual IS DISTINCT FROM desired;
CALL isolate_tenant_table('control_meter_limits', 'SELECT, INSERT, UPDATE, DELETE');
