-- Refunds (退费), the cash desk (收费台) and its shifts, receipts, top-ups of the wrong room (C4, C7, C30).

-- Up to here one operator refunds alone; above it a second one must agree. In fen, for all refunds of
-- one order together.
ALTER TABLE tenancy_project ADD COLUMN refund_alone_fen integer NOT NULL DEFAULT 10000
    CHECK (refund_alone_fen >= 0);

-- CARD_SLIPS (a project: owed by the bank of the card terminal), CASH_SAFE (a project: cash out of the
-- drawers), CASH_DIFFERENCE (a project: what counting found too much or too little).
ALTER TABLE ledger_account DROP CONSTRAINT ledger_account_kind_check;
ALTER TABLE ledger_account ADD CONSTRAINT ledger_account_kind_check CHECK (kind IN (
    'CHANNEL', 'CASH_DESK', 'CARD_SLIPS', 'CASH_SAFE', 'CASH_DIFFERENCE',
    'PURSE', 'IN_TRANSIT', 'METER_WALLET', 'REFUND_DUE', 'SUSPENSE',
    'ENERGY_ARREARS', 'FIXED_FEE_ARREARS', 'LOSS_ARREARS', 'PUBLIC_ARREARS', 'SERVICE_ARREARS',
    'REVENUE', 'ENERGY', 'FIXED_FEE', 'LOSS', 'PUBLIC', 'SERVICE', 'ROUNDING', 'GRANT_FUND'));

-- A shift (班次): an operator at a desk, from opening to the count. Amounts are fen of the drawer:
-- put in at opening, in the book and counted at closing.
CREATE TABLE topups_shift (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    desk text NOT NULL CHECK (length(desk) BETWEEN 1 AND 32 AND desk = btrim(desk)),
    operator_id text NOT NULL CHECK (operator_id <> ''),
    operator_name text NOT NULL,
    opened_at timestamptz NOT NULL,
    float_fen integer NOT NULL CHECK (float_fen >= 0),
    taken_from uuid,
    closed_at timestamptz CHECK (closed_at >= opened_at),
    book_fen integer,
    counted_fen integer CHECK (counted_fen >= 0),
    closed_by text,
    note text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, id),
    CHECK ((closed_at IS NULL) = (counted_fen IS NULL)),
    CHECK ((closed_at IS NULL) = (book_fen IS NULL)),
    CHECK ((closed_at IS NULL) = (closed_by IS NULL)),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, taken_from) REFERENCES topups_shift (group_id, project_id, id)
);
CREATE UNIQUE INDEX topups_shift_desk ON topups_shift (group_id, project_id, desk)
    WHERE closed_at IS NULL;
CREATE UNIQUE INDEX topups_shift_operator ON topups_shift (group_id, project_id, operator_id)
    WHERE closed_at IS NULL;
CREATE INDEX topups_shift_newest ON topups_shift (group_id, project_id, id DESC);
CALL isolate_tenant_table('topups_shift', 'SELECT, INSERT, UPDATE');

-- A counted drawer stays as it was counted.
CREATE FUNCTION topups_shift_closed_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL
        OR (NEW.project_id, NEW.desk, NEW.operator_id, NEW.opened_at, NEW.float_fen)
            IS DISTINCT FROM (OLD.project_id, OLD.desk, OLD.operator_id, OLD.opened_at, OLD.float_fen)
    THEN
        RAISE EXCEPTION 'a shift is only closed, once'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'topups_shift_closed_stays';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER topups_shift_closed_stays BEFORE UPDATE ON topups_shift
    FOR EACH ROW EXECUTE FUNCTION topups_shift_closed_stays();

-- What was taken at a desk, by order. `slip_no`: the number on the card terminal's slip (签购单).
CREATE TABLE topups_counter (
    group_id bigint NOT NULL,
    order_id uuid NOT NULL,
    project_id uuid NOT NULL,
    shift_id uuid NOT NULL,
    slip_no text CHECK (slip_no ~ '^[0-9A-Za-z]{4,32}$'),
    PRIMARY KEY (group_id, order_id),
    UNIQUE (group_id, project_id, slip_no),
    FOREIGN KEY (group_id, project_id, order_id) REFERENCES topups_order (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, shift_id) REFERENCES topups_shift (group_id, project_id, id)
);
CREATE INDEX topups_counter_shift ON topups_counter (group_id, shift_id);
CALL isolate_tenant_table('topups_counter', 'SELECT, INSERT');

-- How often the receipt of an order was printed: every copy after the first says so.
CREATE TABLE topups_receipt (
    group_id bigint NOT NULL,
    order_id uuid NOT NULL,
    copies integer NOT NULL CHECK (copies > 0),
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, order_id),
    FOREIGN KEY (group_id, order_id) REFERENCES topups_order (group_id, id)
);
CALL isolate_tenant_table('topups_receipt', 'SELECT, INSERT, UPDATE');

-- A refund. `order_id` and `account_id` are NULL for a payment that no order of ours fits; its money
-- stands in SUSPENSE. `lot_source`: the lot that it takes from. `refund_no` makes it idempotent at the
-- channel, `idempotency_key` here. `asked`: how often the channel was asked, counted before the call.
-- `shift_id`, `slip_no`: who paid it out at a desk.
CREATE TABLE topups_refund (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    refund_no text NOT NULL CHECK (refund_no ~ '^[0-9A-Za-z]{6,32}$'),
    project_id uuid NOT NULL,
    order_id uuid,
    account_id uuid,
    lot_source text,
    order_no text NOT NULL,
    total_fen integer NOT NULL CHECK (total_fen > 0),
    channel text NOT NULL,
    credential_id uuid,
    amount_fen integer NOT NULL CHECK (amount_fen BETWEEN 1 AND total_fen),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 8 AND 255),
    four_eyes boolean NOT NULL,
    state text NOT NULL CHECK (state IN (
        'REQUESTED', 'APPROVED', 'SENT', 'DONE', 'FAILED', 'REFUSED')),
    requested_by text NOT NULL CHECK (requested_by <> ''),
    requester text NOT NULL,
    requested_at timestamptz NOT NULL,
    approved_by text,
    approver text,
    approved_at timestamptz,
    asked integer NOT NULL DEFAULT 0 CHECK (asked >= 0),
    sent_at timestamptz,
    finished_at timestamptz,
    outcome text,
    shift_id uuid,
    slip_no text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, refund_no),
    UNIQUE (group_id, project_id, idempotency_key),
    UNIQUE (group_id, project_id, id),
    CHECK ((order_id IS NULL) = (account_id IS NULL)),
    CHECK ((order_id IS NULL) = (lot_source IS NULL)),
    CHECK ((finished_at IS NULL) = (state IN ('REQUESTED', 'APPROVED', 'SENT'))),
    CHECK ((approved_at IS NULL) = (state IN ('REQUESTED', 'REFUSED'))),
    CHECK ((approved_at IS NULL) = (approved_by IS NULL)),
    -- Who asked cannot agree (C30).
    CHECK (NOT four_eyes OR approved_by IS NULL OR approved_by <> requested_by),
    FOREIGN KEY (group_id, project_id, order_id) REFERENCES topups_order (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, credential_id) REFERENCES tenancy_credential (group_id, id),
    FOREIGN KEY (group_id, project_id, shift_id) REFERENCES topups_shift (group_id, project_id, id)
);
CREATE INDEX topups_refund_order ON topups_refund (group_id, order_no);
CREATE INDEX topups_refund_shift ON topups_refund (group_id, shift_id) WHERE shift_id IS NOT NULL;
CREATE INDEX topups_refund_open ON topups_refund (group_id, project_id, id DESC);
CALL isolate_tenant_table('topups_refund', 'SELECT, INSERT, UPDATE');

-- The database's own look at it: nobody writes themselves past the limit, and an end is an end.
CREATE FUNCTION topups_refund_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    fault text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('REQUESTED', 'APPROVED') OR NEW.four_eyes AND NEW.state = 'APPROVED' THEN
            fault := 'a refund begins as a request';
        ELSIF NOT NEW.four_eyes AND NEW.amount_fen + (
            SELECT coalesce(sum(r.amount_fen), 0) FROM topups_refund r
            WHERE r.group_id = NEW.group_id AND r.order_no = NEW.order_no
                AND r.state NOT IN ('FAILED', 'REFUSED')
        ) > (SELECT p.refund_alone_fen FROM tenancy_project p
            WHERE p.group_id = NEW.group_id AND p.id = NEW.project_id) THEN
            fault := 'above the limit of the project two operators decide';
        END IF;
    ELSIF OLD.finished_at IS NOT NULL THEN
        fault := 'it ended as ' || OLD.state;
    ELSIF (NEW.refund_no, NEW.project_id, NEW.order_id, NEW.account_id, NEW.lot_source, NEW.order_no,
            NEW.total_fen, NEW.channel, NEW.credential_id, NEW.amount_fen, NEW.four_eyes,
            NEW.requested_by, NEW.reason)
        IS DISTINCT FROM (OLD.refund_no, OLD.project_id, OLD.order_id, OLD.account_id, OLD.lot_source,
            OLD.order_no, OLD.total_fen, OLD.channel, OLD.credential_id, OLD.amount_fen, OLD.four_eyes,
            OLD.requested_by, OLD.reason) THEN
        fault := 'what was asked for stays';
    ELSIF OLD.approved_by IS NOT NULL AND NEW.approved_by IS DISTINCT FROM OLD.approved_by THEN
        fault := 'who agreed stays';
    ELSIF NEW.state <> OLD.state AND NOT (OLD.state || '>' || NEW.state = ANY(ARRAY[
        'REQUESTED>APPROVED', 'REQUESTED>REFUSED', 'APPROVED>SENT', 'APPROVED>DONE',
        'APPROVED>FAILED', 'SENT>DONE', 'SENT>FAILED'])) THEN
        fault := 'not from ' || OLD.state || ' to ' || NEW.state;
    END IF;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION 'refund %: %', NEW.refund_no, fault
            USING ERRCODE = 'check_violation', CONSTRAINT = 'topups_refund_in_order';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER topups_refund_in_order BEFORE INSERT OR UPDATE ON topups_refund
    FOR EACH ROW EXECUTE FUNCTION topups_refund_in_order();

-- A top-up of the wrong room: what was left of its lot moved to the right account's purse. `seq`: the
-- how-many-th move of the order; the newest says whose the money is.
CREATE TABLE topups_correction (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    order_id uuid NOT NULL,
    seq integer NOT NULL CHECK (seq > 0),
    from_account uuid NOT NULL,
    to_account uuid NOT NULL CHECK (to_account <> from_account),
    amount_hao bigint NOT NULL CHECK (amount_hao > 0),
    reason text NOT NULL CHECK (length(reason) BETWEEN 4 AND 200),
    corrected_by text NOT NULL,
    corrected_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, order_id, seq),
    FOREIGN KEY (group_id, project_id, order_id) REFERENCES topups_order (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, from_account)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, to_account)
        REFERENCES accounts_account (group_id, project_id, id)
);
CALL isolate_tenant_table('topups_correction', 'SELECT, INSERT');
