-- Reconciliation: the channel's bill against the book (C6), each meter against the book (C11), and the
-- signed statement of each day (A2).

-- A merchant account's bill of one China day. WAITING: it has not come. FETCHED: its lines are stored.
-- MATCHED: they were compared with the book. CLOSED: nothing is open (or no bill ever came: a note says so). Sums in fen: what the bill says
-- and what the book says of the same payments and refunds; `carried`: what the book has of the last
-- minutes, which the bill of the next day may bring.
CREATE TABLE reconcile_day (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    credential_id uuid NOT NULL,
    day date NOT NULL,
    state text NOT NULL CHECK (state IN ('WAITING', 'FETCHED', 'MATCHED', 'CLOSED')),
    planned_at timestamptz NOT NULL,
    fetched_at timestamptz,
    matched_at timestamptz,
    closed_at timestamptz,
    closed_by text,
    note text,
    lines integer NOT NULL DEFAULT 0 CHECK (lines >= 0),
    matched integer NOT NULL DEFAULT 0 CHECK (matched >= 0),
    theirs_paid_fen bigint NOT NULL DEFAULT 0,
    theirs_refund_fen bigint NOT NULL DEFAULT 0,
    ours_paid_fen bigint NOT NULL DEFAULT 0,
    ours_refund_fen bigint NOT NULL DEFAULT 0,
    carried_fen bigint NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, credential_id, day),
    UNIQUE (group_id, project_id, id),
    CHECK (fetched_at IS NULL OR state <> 'WAITING'),
    CHECK (fetched_at IS NOT NULL OR state IN ('WAITING', 'CLOSED')),
    CHECK ((closed_at IS NULL) = (state <> 'CLOSED')),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL)),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, credential_id) REFERENCES tenancy_credential (group_id, id)
);
CREATE INDEX reconcile_day_newest ON reconcile_day (group_id, project_id, id DESC);
CREATE INDEX reconcile_day_open ON reconcile_day (group_id, day) WHERE state <> 'CLOSED';
CALL isolate_tenant_table('reconcile_day', 'SELECT, INSERT, UPDATE');

-- The bill as it came, line by line. `refund_no` '' for a payment.
CREATE TABLE reconcile_line (
    group_id bigint NOT NULL,
    day_id uuid NOT NULL,
    line integer NOT NULL CHECK (line > 0),
    order_no text NOT NULL,
    transaction_id text NOT NULL,
    refund_no text NOT NULL,
    amount_fen bigint NOT NULL,
    refund_fen bigint NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (group_id, day_id, line),
    FOREIGN KEY (group_id, day_id) REFERENCES reconcile_day (group_id, id)
);
CREATE INDEX reconcile_line_order ON reconcile_line (group_id, order_no);
CREATE INDEX reconcile_line_refund ON reconcile_line (group_id, refund_no) WHERE refund_no <> '';
CALL isolate_tenant_table('reconcile_line', 'SELECT, INSERT');

-- Where bill and book differ. `key` names what differs within its day, so that comparing again finds it
-- again. It ends with a note: of a person, or of the system when it went away by itself.
CREATE TABLE reconcile_item (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    day_id uuid NOT NULL,
    key text NOT NULL CHECK (key <> ''),
    kind text NOT NULL CHECK (kind IN (
        'ONLY_OURS', 'ONLY_THEIRS', 'AMOUNT_DIFFERS', 'REFUND_DIFFERS')),
    order_no text NOT NULL,
    transaction_id text NOT NULL,
    refund_no text NOT NULL,
    ours_fen bigint,
    theirs_fen bigint,
    reason text NOT NULL,
    found_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by text,
    note text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, day_id, key),
    CHECK (ours_fen IS NOT NULL OR theirs_fen IS NOT NULL),
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CHECK (resolved_at IS NULL OR coalesce(length(note), 0) >= 4),
    FOREIGN KEY (group_id, project_id, day_id) REFERENCES reconcile_day (group_id, project_id, id)
);
CREATE INDEX reconcile_item_open ON reconcile_item (group_id, order_no) WHERE resolved_at IS NULL;
CALL isolate_tenant_table('reconcile_item', 'SELECT, INSERT, UPDATE');

-- The database's own look: a closed day stays closed and whole, and no day closes over an open item.
CREATE FUNCTION reconcile_day_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'CLOSED' THEN
        RAISE EXCEPTION 'a closed day stays as it is'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reconcile_day_in_order';
    END IF;
    IF NEW.state = 'CLOSED' AND (OLD.state = 'FETCHED' OR EXISTS (
        SELECT FROM reconcile_item WHERE group_id = NEW.group_id AND day_id = NEW.id
            AND resolved_at IS NULL))
    THEN
        RAISE EXCEPTION 'a day with open items cannot be closed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reconcile_day_in_order';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER reconcile_day_in_order BEFORE UPDATE ON reconcile_day
    FOR EACH ROW EXECUTE FUNCTION reconcile_day_in_order();
CREATE FUNCTION reconcile_item_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.resolved_at IS NOT NULL THEN
        RAISE EXCEPTION 'a resolved item stays as it is'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reconcile_item_in_order';
    END IF;
    -- Whoever adds an item waits for whoever closes its day, and the other way round.
    PERFORM FROM reconcile_day WHERE group_id = NEW.group_id AND id = NEW.day_id
        AND state <> 'CLOSED' FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the day of this item is closed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'reconcile_item_in_order';
    END IF;
    RETURN NULL;
END $$;
-- Afterwards: row-level security speaks first.
CREATE TRIGGER reconcile_item_in_order AFTER INSERT OR UPDATE ON reconcile_item
    FOR EACH ROW EXECUTE FUNCTION reconcile_item_in_order();

-- The nightly proof of a meter that holds money: its purchase count and what it has left, as it was read
-- at `read_at`, against the book. AGREES: use explains the difference, `posted_hao` of it went to
-- REVENUE, `left_hao` (the book less the meter) stays. DRIFT: it does not; selling is stopped. UNREAD,
-- UNSETTLED: nothing can be said today, the next night tries again.
CREATE TABLE reconcile_proof (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    day date NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('AGREES', 'DRIFT', 'UNREAD', 'UNSETTLED')),
    reason text NOT NULL,
    proved_at timestamptz NOT NULL,
    read_at timestamptz,
    total bigint,
    ledger_count integer,
    meter_count integer,
    ledger_hao bigint,
    meter_hao bigint,
    used bigint,
    use_hao bigint,
    least_hao bigint,
    most_hao bigint,
    posted_hao bigint NOT NULL DEFAULT 0,
    left_hao bigint,
    resolved_at timestamptz,
    resolved_by text,
    note text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, meter_id, day),
    CHECK (verdict NOT IN ('AGREES', 'DRIFT')
        OR (read_at IS NOT NULL AND total IS NOT NULL AND left_hao IS NOT NULL)),
    CHECK (posted_hao = 0 OR verdict = 'AGREES'),
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CHECK (resolved_at IS NULL OR (verdict = 'DRIFT' AND coalesce(length(note), 0) >= 4)),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id)
);
CREATE INDEX reconcile_proof_newest ON reconcile_proof (group_id, project_id, id DESC);
CREATE INDEX reconcile_proof_drift ON reconcile_proof (group_id, project_id)
    WHERE verdict = 'DRIFT' AND resolved_at IS NULL;
CALL isolate_tenant_table('reconcile_proof', 'SELECT, INSERT, UPDATE');

-- A project's signed statement of a business day: `body` is the text that was hashed and signed,
-- `previous` the hash of the day before (NULL for the first).
CREATE TABLE reconcile_statement (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    day date NOT NULL,
    body text NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    previous bytea CHECK (length(previous) = 32),
    key_name text NOT NULL CHECK (key_name <> ''),
    signature bytea NOT NULL CHECK (length(signature) = 64),
    made_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, project_id, day),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('reconcile_statement', 'SELECT, INSERT');

-- A day of the book is what was recorded in it: the past of an append-only book never changes.
-- Entries come in the order of their recording, so a handful of bytes a block range is enough.
CREATE INDEX ledger_entry_recorded ON ledger_entry USING brin (recorded_at);
-- Orders and refunds of a merchant account by when they were paid and ended.
CREATE INDEX topups_order_paid ON topups_order (group_id, credential_id, paid_at)
    WHERE paid_at IS NOT NULL;
CREATE INDEX topups_refund_done ON topups_refund (group_id, credential_id, finished_at)
    WHERE state = 'DONE';
