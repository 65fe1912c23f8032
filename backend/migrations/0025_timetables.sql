-- When a project may be cut for arrears, what kind of day a day is; timetables, load guards, safety trips
-- (C20, C21, A24; backend/control/calendar_rules.py, timetable_rules.py, load_rules.py).

-- Minutes of a day, weekdays 1 (Monday) to 7: a project without a row has the default window. No window
-- lies in the night, whoever writes it.
CREATE TABLE control_cut_window (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    opens smallint NOT NULL CHECK (opens >= 360),
    closes smallint NOT NULL CHECK (closes <= 1380),
    weekdays smallint[] NOT NULL CHECK (weekdays <@ '{1,2,3,4,5,6,7}' AND cardinality(weekdays) > 0),
    notice_hours smallint NOT NULL CHECK (notice_hours BETWEEN 1 AND 168),
    CHECK (opens < closes),
    PRIMARY KEY (group_id, project_id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('control_cut_window', 'SELECT, INSERT, UPDATE');

-- The list that an operator edits. Who changed it when is in the audit.
CREATE TABLE control_marked_day (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    day date NOT NULL,
    mark text NOT NULL CHECK (mark IN ('HOLIDAY', 'NO_CUT', 'WORKDAY', 'EXAM')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 32),
    marked_by text NOT NULL,
    PRIMARY KEY (group_id, project_id, day, mark),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('control_marked_day', 'SELECT, INSERT, UPDATE, DELETE');

-- Timetables never change: what meters are to follow from now on is a new one. `plans`: by kind of day, the
-- slots as [minute, on].
CREATE TABLE control_timetable (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 32),
    plans jsonb NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, name),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('control_timetable', 'SELECT, INSERT');

-- Which timetable meters are to follow (NULL: none any more): for many at once a second operator agrees.
CREATE TABLE control_timing (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    timetable_id uuid,
    meter_ids uuid[] NOT NULL CHECK (cardinality(meter_ids) > 0),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    asked_by text NOT NULL,
    asked_name text NOT NULL,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > asked_at),
    state text NOT NULL CHECK (state IN ('OPEN', 'DONE', 'REFUSED')),
    ruled_by text,
    ruled_name text,
    ruled_at timestamptz,
    CHECK (num_nulls(ruled_by, ruled_name, ruled_at) IN (0, 3)),
    CHECK (state <> 'OPEN' OR ruled_at IS NULL),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, timetable_id) REFERENCES control_timetable (group_id, project_id, id)
);
CREATE INDEX control_timing_project ON control_timing (group_id, project_id, id DESC);
CALL isolate_tenant_table('control_timing', 'SELECT, INSERT, UPDATE');
ALTER TABLE control_supply
    ADD COLUMN timetable_id uuid,
    ADD FOREIGN KEY (group_id, project_id, timetable_id) REFERENCES control_timetable (group_id, project_id, id);
CREATE INDEX control_supply_timetable ON control_supply (group_id, timetable_id)
    WHERE timetable_id IS NOT NULL;

-- What a circuit may draw: over `most_w` is an overload, a step of `step_w` or more with a power factor of at
-- least `factor_permille` a malignant load, unless the step lies in one of `allowed` ([from, to] in W).
CREATE TABLE control_load_guard (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 32),
    most_w integer CHECK (most_w > 0),
    step_w integer CHECK (step_w > 0),
    factor_permille smallint NOT NULL CHECK (factor_permille BETWEEN 800 AND 1000),
    allowed jsonb NOT NULL,
    restore_minutes smallint NOT NULL CHECK (restore_minutes BETWEEN 1 AND 1440),
    trips_a_day smallint NOT NULL CHECK (trips_a_day BETWEEN 1 AND 20),
    CHECK (num_nulls(most_w, step_w) < 2),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, name),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('control_load_guard', 'SELECT, INSERT, UPDATE');
-- `load_seen_at`: the reading that a guard looked at last. `safety`: locked open until its cause is over.
ALTER TABLE control_supply
    ADD COLUMN guard_id uuid,
    ADD COLUMN load_seen_at timestamptz,
    ADD COLUMN safety text CHECK (safety IN ('OVERLOAD', 'MALIGNANT_LOAD')),
    ADD FOREIGN KEY (group_id, project_id, guard_id) REFERENCES control_load_guard (group_id, project_id, id);
CREATE INDEX control_supply_guard ON control_supply (group_id, guard_id) WHERE guard_id IS NOT NULL;

-- Each time that a circuit was locked. `restore_at` NULL: until an operator unlocks it.
CREATE TABLE control_safety_trip (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('OVERLOAD', 'MALIGNANT_LOAD')),
    day date NOT NULL,
    tripped_at timestamptz NOT NULL,
    restore_at timestamptz CHECK (restore_at > tripped_at),
    detail jsonb NOT NULL,
    ended_at timestamptz,
    ended_by text,
    note text,
    CHECK (num_nulls(ended_at, ended_by, note) IN (0, 3)),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CREATE UNIQUE INDEX control_safety_trip_running ON control_safety_trip (group_id, meter_id)
    WHERE ended_at IS NULL;
CREATE INDEX control_safety_trip_day ON control_safety_trip (group_id, meter_id, day);
CREATE INDEX control_safety_trip_project ON control_safety_trip (group_id, project_id, id DESC);
CALL isolate_tenant_table('control_safety_trip', 'SELECT, INSERT, UPDATE');

-- Projects whose valves are moved once a month, from this minute of the day on; no row: they are not.
CREATE TABLE control_valve_exercise (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    starts smallint NOT NULL CHECK (starts BETWEEN 0 AND 1319),
    PRIMARY KEY (group_id, project_id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('control_valve_exercise', 'SELECT, INSERT, UPDATE, DELETE');
-- `exercised`: the first day of the month in which its valve was moved last.
ALTER TABLE control_supply ADD COLUMN exercised date CHECK (extract(day FROM exercised) = 1);
