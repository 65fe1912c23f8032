-- Life of an account: how a meter's service ends (拆表), how an account closes (销户); vends that come of
-- other money than a top-up; meters that left the site; which meter a pay link is for.

-- TRANSFER: the money of the meter that served before (A17). GRANT: given to an account. OPENING: the first
-- credit of an account, given at its opening.
ALTER TABLE control_vend DROP CONSTRAINT control_vend_source_check;
ALTER TABLE control_vend ADD CONSTRAINT control_vend_source_check
    CHECK (source IN ('TOPUP', 'TRANSFER', 'GRANT', 'OPENING'));
-- VOIDED: the meter was taken down before it took it; its money went on with the account's.
ALTER TABLE control_vend DROP CONSTRAINT control_vend_state_check;
ALTER TABLE control_vend ADD CONSTRAINT control_vend_state_check
    CHECK (state IN ('QUEUED', 'SENT', 'VERIFIED', 'STOPPED', 'VOIDED'));

-- What the meter held when its service began and ended; NULL: not known, or it holds no money.
ALTER TABLE metering_assignment
    ADD COLUMN opening_remaining_hao bigint,
    ADD COLUMN closing_remaining_hao bigint,
    ADD COLUMN closing_purchase_no integer,
    ADD COLUMN closing_by text CHECK (closing_by IN ('READ', 'TYPED'));

-- A meter that left the site: its place on the bus is free for the next one.
ALTER TABLE metering_meter ADD COLUMN removed_at timestamptz;
ALTER TABLE metering_meter DROP CONSTRAINT metering_meter_group_id_gateway_id_bus_bus_address_key;
CREATE UNIQUE INDEX metering_meter_on_bus ON metering_meter (group_id, gateway_id, bus, bus_address)
    WHERE removed_at IS NULL;

-- How the service of one meter ends (拆表). WAITING: nothing is sold to it any more, its last word is
-- awaited. TYPED: an operator typed it, a second one must agree. KNOWN: the last word is there. DONE: the
-- assignment ended and its money was booked, all by one commit. `unsure_until`: a write that was under way
-- may reach the meter until then, so no earlier word is its last. `cut`: the relay is opened first.
CREATE TABLE metering_takedown (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('REPLACE', 'MOVE', 'CLOSE')),
    state text NOT NULL CHECK (state IN ('WAITING', 'TYPED', 'KNOWN', 'DONE', 'CANCELLED')),
    cut boolean NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 8 AND 255),
    requested_by text NOT NULL CHECK (requested_by <> ''),
    started_at timestamptz NOT NULL,
    unsure_until timestamptz NOT NULL,
    to_meter_id uuid CHECK (to_meter_id <> meter_id),
    to_area_id uuid,
    to_assignment_id uuid,
    final_at timestamptz,
    final_total bigint CHECK (final_total >= 0),
    final_remaining_hao bigint,
    final_purchase_no integer CHECK (final_purchase_no >= 0),
    final_by text CHECK (final_by IN ('READ', 'TYPED')),
    typed_by text,
    note text,
    approved_by text,
    moved_hao bigint CHECK (moved_hao >= 0),
    used_hao bigint CHECK (used_hao >= 0),
    owed_hao bigint CHECK (owed_hao >= 0),
    finished_at timestamptz,
    outcome text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, idempotency_key),
    CHECK ((finished_at IS NULL) = (state IN ('WAITING', 'TYPED', 'KNOWN'))),
    CHECK (state NOT IN ('TYPED', 'KNOWN', 'DONE') OR final_total IS NOT NULL),
    CHECK ((final_at IS NULL) = (final_total IS NULL)),
    CHECK ((final_at IS NULL) = (final_by IS NULL)),
    CHECK (final_by IS DISTINCT FROM 'TYPED' OR (typed_by IS NOT NULL AND length(note) >= 4)),
    CHECK (state <> 'DONE' OR used_hao IS NOT NULL),
    CHECK ((purpose = 'MOVE') = (to_area_id IS NOT NULL)),
    CHECK (purpose <> 'CLOSE' OR to_meter_id IS NULL),
    -- Who typed an amount above the limit cannot agree to it (C30).
    CHECK (approved_by IS NULL OR approved_by <> typed_by),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, to_meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, to_area_id) REFERENCES accounts_area (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, to_assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id)
);
-- A meter is taken down once at a time, and hung by one takedown at a time.
CREATE UNIQUE INDEX metering_takedown_open ON metering_takedown (group_id, assignment_id)
    WHERE finished_at IS NULL;
CREATE UNIQUE INDEX metering_takedown_ended ON metering_takedown (group_id, assignment_id)
    WHERE state = 'DONE';
CREATE UNIQUE INDEX metering_takedown_target ON metering_takedown (group_id, to_meter_id)
    WHERE finished_at IS NULL;
CREATE INDEX metering_takedown_account ON metering_takedown (group_id, account_id, id DESC);
CREATE INDEX metering_takedown_meter ON metering_takedown (group_id, meter_id) WHERE finished_at IS NULL;
CALL isolate_tenant_table('metering_takedown', 'SELECT, INSERT, UPDATE');

-- The database's own look: an end is an end, and the last word stays once it is known.
CREATE FUNCTION metering_takedown_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL
        OR OLD.assignment_id <> NEW.assignment_id OR OLD.account_id <> NEW.account_id
        OR OLD.purpose <> NEW.purpose
        OR OLD.state = 'KNOWN' AND (OLD.final_at, OLD.final_total, OLD.final_remaining_hao,
            OLD.final_purchase_no, OLD.final_by, OLD.typed_by)
            IS DISTINCT FROM (NEW.final_at, NEW.final_total, NEW.final_remaining_hao,
            NEW.final_purchase_no, NEW.final_by, NEW.typed_by)
        OR NEW.state <> OLD.state AND NOT (OLD.state || '>' || NEW.state = ANY(ARRAY[
            'WAITING>TYPED', 'WAITING>KNOWN', 'TYPED>KNOWN', 'TYPED>WAITING', 'KNOWN>DONE',
            'WAITING>CANCELLED', 'TYPED>CANCELLED', 'KNOWN>CANCELLED']))
    THEN
        RAISE EXCEPTION 'takedown %: not from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'metering_takedown_in_order';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER metering_takedown_in_order BEFORE UPDATE ON metering_takedown
    FOR EACH ROW EXECUTE FUNCTION metering_takedown_in_order();

-- An account that is being closed buys nothing more.
ALTER TABLE accounts_account ADD COLUMN closing_at timestamptz;

-- Closing an account (销户). METERS: its meters are taken down. REFUNDS: what is left goes back by the lots
-- it came by. `fraction_hao`: what was below a fen (C2). `statement`: the whole life in yuan by line.
CREATE TABLE accounts_closing (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('METERS', 'REFUNDS', 'CLOSED', 'CANCELLED')),
    cut boolean NOT NULL,
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 8 AND 255),
    operator_id text NOT NULL CHECK (operator_id <> ''),
    operator_name text NOT NULL,
    started_at timestamptz NOT NULL,
    round integer NOT NULL DEFAULT 0 CHECK (round >= 0),
    fraction_hao bigint NOT NULL DEFAULT 0 CHECK (fraction_hao >= 0),
    owing_hao bigint NOT NULL DEFAULT 0 CHECK (owing_hao >= 0),
    statement jsonb,
    finished_at timestamptz,
    outcome text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, idempotency_key),
    CHECK ((finished_at IS NULL) = (state IN ('METERS', 'REFUNDS'))),
    CHECK (state <> 'CLOSED' OR statement IS NOT NULL),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id)
);
CREATE UNIQUE INDEX accounts_closing_open ON accounts_closing (group_id, account_id)
    WHERE finished_at IS NULL;
CREATE INDEX accounts_closing_account ON accounts_closing (group_id, account_id, id DESC);
CALL isolate_tenant_table('accounts_closing', 'SELECT, INSERT, UPDATE');

-- An opening that was asked for, so that asking again with the same key opens once.
CREATE TABLE accounts_opening (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 8 AND 255),
    account_id uuid NOT NULL,
    asked bytea NOT NULL CHECK (length(asked) = 32),
    PRIMARY KEY (group_id, project_id, idempotency_key),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id)
);
CALL isolate_tenant_table('accounts_opening', 'SELECT, INSERT');

-- Which meter a pay link is for; NULL: the first that holds money.
ALTER TABLE topups_link ADD COLUMN meter_id uuid;
ALTER TABLE topups_link ADD FOREIGN KEY (group_id, meter_id)
    REFERENCES metering_meter (group_id, id);
