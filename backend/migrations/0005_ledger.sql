-- The double-entry book of each project (C1, C2, C4). Debits are positive, credits negative; amounts
-- are hao. Entries, postings and lots are append-only for the application.

CREATE TABLE ledger_account (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('CHANNEL', 'PURSE', 'IN_TRANSIT', 'METER_WALLET', 'REVENUE')),
    ref uuid NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, id),
    UNIQUE (group_id, project_id, kind, ref),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('ledger_account', 'SELECT, INSERT');

CREATE TABLE ledger_entry (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    business_key text NOT NULL CHECK (business_key <> ''),
    kind text NOT NULL,
    lines smallint NOT NULL CHECK (lines >= 2),
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, business_key),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('ledger_entry', 'SELECT, INSERT');

-- project_id in both foreign keys: an entry cannot touch another project's accounts (A2).
CREATE TABLE ledger_posting (
    group_id bigint NOT NULL,
    entry_id uuid NOT NULL,
    line smallint NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    amount_hao bigint NOT NULL CHECK (amount_hao <> 0),
    PRIMARY KEY (group_id, entry_id, line),
    FOREIGN KEY (group_id, project_id, entry_id) REFERENCES ledger_entry (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES ledger_account (group_id, project_id, id)
);
CREATE INDEX ledger_posting_account ON ledger_posting (group_id, account_id);
CALL isolate_tenant_table('ledger_posting', 'SELECT, INSERT');

-- Every entry has just the postings it declares, two or more, and sums to zero when its transaction
-- commits; so no later transaction can add lines to it, not even balanced ones.
CREATE FUNCTION ledger_entry_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted uuid := CASE TG_TABLE_NAME WHEN 'ledger_entry' THEN (to_jsonb(NEW) ->> 'id')::uuid
                                      ELSE (to_jsonb(NEW) ->> 'entry_id')::uuid END;
    total numeric;
    found integer;
    declared integer;
BEGIN
    SELECT coalesce(sum(amount_hao), 0), count(*) INTO total, found
        FROM ledger_posting WHERE group_id = NEW.group_id AND entry_id = wanted;
    SELECT lines INTO declared FROM ledger_entry WHERE group_id = NEW.group_id AND id = wanted;
    IF total <> 0 OR found IS DISTINCT FROM declared THEN
        RAISE EXCEPTION 'ledger entry % does not balance: sum % over % postings', wanted, total, found
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_balances';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entry_balances AFTER INSERT ON ledger_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balances();
CREATE CONSTRAINT TRIGGER ledger_posting_balances AFTER INSERT ON ledger_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balances();

-- The second line behind the missing UPDATE and DELETE rights: the owner cannot edit history either.
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: reverse by a new entry'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_posting_append_only BEFORE UPDATE OR DELETE ON ledger_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();

-- Balances of the accounts that are read often; always the sum of their postings (a test proves it).
-- CHANNEL and REVENUE have none: derived from postings, so that no row is hot.
CREATE TABLE ledger_balance (
    group_id bigint NOT NULL,
    account_id uuid NOT NULL,
    balance_hao bigint NOT NULL,
    PRIMARY KEY (group_id, account_id),
    FOREIGN KEY (group_id, account_id) REFERENCES ledger_account (group_id, id)
) WITH (fillfactor = 70);
CALL isolate_tenant_table('ledger_balance', 'SELECT, INSERT, UPDATE');

-- A lot is one top-up or grant in a purse. It is never edited: what was taken from it is in
-- ledger_lot_use, and the trigger keeps the uses within the lot even when two take at once.
CREATE TABLE ledger_lot (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    purse_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('GRANT', 'PAID')),
    source text NOT NULL,
    amount_hao bigint NOT NULL CHECK (amount_hao > 0),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, source),
    FOREIGN KEY (group_id, purse_id) REFERENCES ledger_account (group_id, id)
);
CREATE INDEX ledger_lot_purse ON ledger_lot (group_id, purse_id, created_at);
CALL isolate_tenant_table('ledger_lot', 'SELECT, INSERT');

CREATE TABLE ledger_lot_use (
    group_id bigint NOT NULL,
    lot_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    amount_hao bigint NOT NULL CHECK (amount_hao > 0),
    PRIMARY KEY (group_id, lot_id, entry_id),
    FOREIGN KEY (group_id, lot_id) REFERENCES ledger_lot (group_id, id),
    FOREIGN KEY (group_id, entry_id) REFERENCES ledger_entry (group_id, id)
);
CALL isolate_tenant_table('ledger_lot_use', 'SELECT, INSERT');

CREATE FUNCTION ledger_lot_not_overdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    size bigint;
    used numeric;
BEGIN
    SELECT amount_hao INTO size FROM ledger_lot
        WHERE group_id = NEW.group_id AND id = NEW.lot_id;
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.lot_id::text, NEW.group_id));
    SELECT coalesce(sum(amount_hao), 0) INTO used FROM ledger_lot_use
        WHERE group_id = NEW.group_id AND lot_id = NEW.lot_id;
    IF used > size THEN
        RAISE EXCEPTION 'lot % holds % hao, % would be used', NEW.lot_id, size, used
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_lot_not_overdrawn';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_lot_not_overdrawn AFTER INSERT ON ledger_lot_use
    FOR EACH ROW EXECUTE FUNCTION ledger_lot_not_overdrawn();
