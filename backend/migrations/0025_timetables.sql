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
