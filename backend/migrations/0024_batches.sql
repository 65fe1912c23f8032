-- Batches (批量): one order to many meters, previewed, by two operators where there are many, and carried out
-- meter by meter (A21, C22, C30); labels by which meters are found.

-- To so many meters one operator may give a batch alone within an hour.
ALTER TABLE tenancy_project ADD COLUMN batch_alone smallint NOT NULL DEFAULT 10
    CHECK (batch_alone BETWEEN 0 AND 1000);

-- Labels 标签 that operators put on meters.
CREATE TABLE metering_tag (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    tag text NOT NULL CHECK (length(tag) BETWEEN 1 AND 30),
    meter_id uuid NOT NULL,
    PRIMARY KEY (group_id, project_id, tag, meter_id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CREATE INDEX metering_tag_meter ON metering_tag (group_id, meter_id);
CALL isolate_tenant_table('metering_tag', 'SELECT, INSERT, DELETE');

-- `settings` as of a command; `selection`: by what its meters were chosen; `second`: it takes a second
-- operator; `expires_at`: until then it can be confirmed (DRAFT) or approved (WAITING); `starts_at`: nothing
-- goes before; `tended_at`: when it was last carried on.
CREATE TABLE control_batch (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'TRIP', 'ALLOW_CLOSE', 'CLOSE', 'KEEP_POWER', 'RELEASE', 'SYNC_CLOCK', 'PRICES', 'THRESHOLDS')),
    settings jsonb NOT NULL DEFAULT '{}',
    until timestamptz CHECK (until IS NULL OR kind IN ('TRIP', 'KEEP_POWER')),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    selection jsonb NOT NULL,
    second boolean NOT NULL,
    state text NOT NULL CHECK (state IN (
        'DRAFT', 'WAITING', 'RUNNING', 'PAUSED', 'DONE', 'CANCELLED', 'REFUSED', 'EXPIRED')),
    asked_by text NOT NULL CHECK (asked_by <> ''),
    asked_name text NOT NULL CHECK (asked_name <> ''),
    asked_from text NOT NULL,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > asked_at),
    confirmed_at timestamptz,
    ruled_by text CHECK (ruled_by <> asked_by OR state = 'REFUSED'),
    ruled_name text,
    ruled_at timestamptz,
    starts_at timestamptz CHECK (starts_at > confirmed_at),
    tended_at timestamptz,
    finished_at timestamptz,
    note text,
    CHECK (num_nulls(ruled_by, ruled_name, ruled_at) IN (0, 3)),
    CHECK (state NOT IN ('RUNNING', 'PAUSED', 'DONE') OR num_nulls(confirmed_at, starts_at, tended_at) = 0),
    CHECK (NOT second OR starts_at IS NULL OR ruled_by IS NOT NULL),
    CHECK (state NOT IN ('DRAFT', 'WAITING', 'RUNNING', 'PAUSED') OR finished_at IS NULL),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CREATE INDEX control_batch_newest ON control_batch (group_id, project_id, id DESC);
CREATE INDEX control_batch_open ON control_batch (group_id, id) WHERE finished_at IS NULL;
CREATE INDEX control_batch_alone ON control_batch (group_id, project_id, confirmed_at) WHERE NOT second;
CALL isolate_tenant_table('control_batch', 'SELECT, INSERT, UPDATE');

-- A meter of a batch, or what was named and is none. `left_out`: why it does not take part; `assignment_id`:
-- whom it served when the preview was made; `tries`: commands that were asked for before this one.
CREATE TABLE control_batch_item (
    group_id bigint NOT NULL,
    batch_id uuid NOT NULL,
    no integer NOT NULL CHECK (no > 0),
    project_id uuid NOT NULL,
    serial text NOT NULL CHECK (length(serial) BETWEEN 1 AND 64),
    meter_id uuid,
    gateway_id uuid,
    assignment_id uuid,
    state text NOT NULL CHECK (state IN (
        'LEFT_OUT', 'READY', 'ASKED', 'DONE', 'FAILED', 'OVERTAKEN', 'CANCELLED')),
    left_out text,
    note text,
    command_id uuid,
    tries smallint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL,
    CHECK ((state = 'LEFT_OUT') = (left_out IS NOT NULL)),
    CHECK (state = 'LEFT_OUT' OR num_nulls(meter_id, gateway_id) = 0),
    CHECK (state NOT IN ('ASKED', 'DONE', 'OVERTAKEN') OR command_id IS NOT NULL),
    PRIMARY KEY (group_id, batch_id, no),
    UNIQUE (group_id, batch_id, meter_id),
    FOREIGN KEY (group_id, project_id, batch_id) REFERENCES control_batch (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, gateway_id)
        REFERENCES metering_gateway (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id),
    FOREIGN KEY (group_id, command_id) REFERENCES control_command (group_id, id)
);
CREATE INDEX control_batch_item_left ON control_batch_item (group_id, batch_id, state)
    WHERE state IN ('READY', 'ASKED');
CREATE INDEX control_batch_item_flight ON control_batch_item (group_id, gateway_id)
    WHERE state = 'ASKED';
CALL isolate_tenant_table('control_batch_item', 'SELECT, INSERT, UPDATE');
