-- Tariffs (A14): dated versions that never change, approved by a second person; who pays by which.
-- Amounts are hao; terms are as backend/tariffs/terms.py keeps them.

CREATE TABLE tariffs_tariff (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ELECTRICITY', 'WATER', 'HEAT')),
    name text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, name),
    UNIQUE (group_id, project_id, id),
    UNIQUE (group_id, project_id, kind, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('tariffs_tariff', 'SELECT, INSERT');

-- drafted_by and the others: the actor's id, and its name for people. `jumps`: what of it is many times
-- the former price, told and confirmed when it was submitted.
CREATE TABLE tariffs_version (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    tariff_id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    terms jsonb NOT NULL,
    effective_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('DRAFT', 'SUBMITTED', 'APPROVED', 'REJECTED')),
    drafted_by text NOT NULL,
    drafted_name text NOT NULL,
    drafted_at timestamptz NOT NULL,
    submitted_by text,
    submitted_name text,
    submitted_at timestamptz,
    jumps text[] NOT NULL DEFAULT '{}',
    decided_by text,
    decided_name text,
    decided_at timestamptz,
    note text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, tariff_id, number),
    FOREIGN KEY (group_id, project_id, tariff_id) REFERENCES tariffs_tariff (group_id, project_id, id),
    -- Who drafts or submits cannot approve (C30), whatever the program says.
    CHECK (state <> 'APPROVED' OR (
        submitted_by IS NOT NULL AND decided_by IS NOT NULL
        AND decided_by <> drafted_by AND decided_by <> submitted_by)),
    CHECK ((submitted_by IS NULL) = (submitted_at IS NULL)),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CHECK ((state IN ('APPROVED', 'REJECTED')) = (decided_by IS NOT NULL))
);
CREATE UNIQUE INDEX tariffs_version_in_force ON tariffs_version (group_id, tariff_id, effective_at)
    WHERE state = 'APPROVED';
CREATE INDEX tariffs_version_waiting ON tariffs_version (group_id, project_id, submitted_at)
    WHERE state = 'SUBMITTED';
CALL isolate_tenant_table('tariffs_version', 'SELECT, INSERT, UPDATE');

-- The content of a version is written once; what changes is its state, one way. An approved version can
-- be taken back only before it holds, so the version that a charge used stays what it was.
CREATE FUNCTION tariffs_version_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
        OR (NEW.group_id, NEW.id, NEW.project_id, NEW.tariff_id, NEW.number, NEW.terms,
            NEW.effective_at, NEW.drafted_by, NEW.drafted_name, NEW.drafted_at)
        IS DISTINCT FROM
           (OLD.group_id, OLD.id, OLD.project_id, OLD.tariff_id, OLD.number, OLD.terms,
            OLD.effective_at, OLD.drafted_by, OLD.drafted_name, OLD.drafted_at)
    THEN
        RAISE EXCEPTION 'a tariff version is never changed: draft a new one'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.state <> 'DRAFT'
        AND (NEW.submitted_by, NEW.submitted_name, NEW.submitted_at, NEW.jumps)
        IS DISTINCT FROM (OLD.submitted_by, OLD.submitted_name, OLD.submitted_at, OLD.jumps)
    THEN
        RAISE EXCEPTION 'who submitted a tariff version is never changed'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT ((OLD.state, NEW.state) IN (
            ('DRAFT', 'SUBMITTED'), ('DRAFT', 'REJECTED'),
            ('SUBMITTED', 'APPROVED'), ('SUBMITTED', 'REJECTED'))
        OR (OLD.state = 'APPROVED' AND NEW.state = 'REJECTED' AND NEW.decided_at < OLD.effective_at))
    THEN
        RAISE EXCEPTION 'a tariff version cannot go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'tariffs_version_is_fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tariffs_version_is_fixed BEFORE UPDATE OR DELETE ON tariffs_version
    FOR EACH ROW EXECUTE FUNCTION tariffs_version_is_fixed();

-- An account pays by a tariff of a kind from an instant until its next one: so two of a kind can never
-- hold at once (A13). One that has not begun may be superseded; one that has stays (C17).
CREATE TABLE tariffs_assignment (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    tariff_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    assigned_by text NOT NULL,
    assigned_at timestamptz NOT NULL,
    superseded_at timestamptz CHECK (superseded_at <= started_at),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, kind, tariff_id)
        REFERENCES tariffs_tariff (group_id, project_id, kind, id)
);
CREATE UNIQUE INDEX tariffs_assignment_one_of_a_kind
    ON tariffs_assignment (group_id, account_id, kind, started_at) WHERE superseded_at IS NULL;
CREATE INDEX tariffs_assignment_tariff ON tariffs_assignment (group_id, tariff_id)
    WHERE superseded_at IS NULL;
CALL isolate_tenant_table('tariffs_assignment', 'SELECT, INSERT, UPDATE');

CREATE FUNCTION tariffs_assignment_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.superseded_at IS NOT NULL
        OR (NEW.group_id, NEW.id, NEW.project_id, NEW.account_id, NEW.kind, NEW.tariff_id,
            NEW.started_at, NEW.assigned_by, NEW.assigned_at)
        IS DISTINCT FROM
           (OLD.group_id, OLD.id, OLD.project_id, OLD.account_id, OLD.kind, OLD.tariff_id,
            OLD.started_at, OLD.assigned_by, OLD.assigned_at)
    THEN
        RAISE EXCEPTION 'which tariff held is never changed: assign another from now on'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tariffs_assignment_is_fixed BEFORE UPDATE OR DELETE ON tariffs_assignment
    FOR EACH ROW EXECUTE FUNCTION tariffs_assignment_is_fixed();

-- What prices a METER-mode meter is to hold, and what it showed when it was last read back (A14).
-- `version`: the tariff version's id as the cloud names it; control knows of no tariff, so no key leads
-- there. `unfit`: why the meter cannot hold such a price at all; `command_id`: the command under way;
-- `problem`: why the last one came to nothing.
CREATE TABLE control_meter_prices (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    desired_version uuid NOT NULL,
    desired_prices jsonb NOT NULL,
    desired_at timestamptz NOT NULL,
    unfit text,
    actual_version uuid,
    actual_prices jsonb,
    actual_at timestamptz CHECK ((actual_at IS NULL) = (actual_prices IS NULL)),
    command_id uuid,
    tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try_at timestamptz NOT NULL,
    problem text,
    PRIMARY KEY (group_id, meter_id),
    FOREIGN KEY (group_id, project_id, meter_id)
        REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, command_id) REFERENCES control_command (group_id, id)
);
CREATE INDEX control_meter_prices_lagging ON control_meter_prices (group_id, project_id, meter_id)
    WHERE actual_version IS DISTINCT FROM desired_version
        OR actual_prices IS DISTINCT FROM desired_prices;
CALL isolate_tenant_table('control_meter_prices', 'SELECT, INSERT, UPDATE, DELETE');

-- A change of what accounts pay by: proposed by one, approved by another (C22, C30).
CREATE TABLE tariffs_change (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    tariff_id uuid NOT NULL,
    account_ids uuid[] NOT NULL CHECK (cardinality(account_ids) BETWEEN 1 AND 1000),
    started_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('PROPOSED', 'APPROVED', 'REJECTED')),
    proposed_by text NOT NULL,
    proposed_name text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text,
    decided_name text,
    decided_at timestamptz,
    note text,
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, tariff_id) REFERENCES tariffs_tariff (group_id, project_id, id),
    CHECK (state <> 'APPROVED' OR decided_by <> proposed_by),
    CHECK ((state = 'PROPOSED') = (decided_by IS NULL)),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL))
);
CREATE INDEX tariffs_change_project ON tariffs_change (group_id, project_id, id DESC);
CALL isolate_tenant_table('tariffs_change', 'SELECT, INSERT, UPDATE');

CREATE FUNCTION tariffs_change_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'PROPOSED'
        OR (NEW.group_id, NEW.id, NEW.project_id, NEW.tariff_id, NEW.account_ids, NEW.started_at,
            NEW.proposed_by, NEW.proposed_name, NEW.proposed_at)
        IS DISTINCT FROM
           (OLD.group_id, OLD.id, OLD.project_id, OLD.tariff_id, OLD.account_ids, OLD.started_at,
            OLD.proposed_by, OLD.proposed_name, OLD.proposed_at)
    THEN
        RAISE EXCEPTION 'a proposed change is never changed: propose a new one'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tariffs_change_is_fixed BEFORE UPDATE OR DELETE ON tariffs_change
    FOR EACH ROW EXECUTE FUNCTION tariffs_change_is_fixed();
