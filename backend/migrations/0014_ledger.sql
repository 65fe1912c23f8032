-- The ledger grows: entries of many postings, income line by line, arrears, grants, shared purses, and
-- balances and lots that the database itself keeps (C1-C4, C7).

ALTER TABLE ledger_account DROP CONSTRAINT ledger_account_kind_check;
ALTER TABLE ledger_account ADD CONSTRAINT ledger_account_kind_check CHECK (kind IN (
    'CHANNEL', 'CASH_DESK', 'PURSE', 'IN_TRANSIT', 'METER_WALLET', 'REFUND_DUE', 'SUSPENSE',
    'ENERGY_ARREARS', 'FIXED_FEE_ARREARS', 'LOSS_ARREARS', 'PUBLIC_ARREARS', 'SERVICE_ARREARS',
    'REVENUE', 'ENERGY', 'FIXED_FEE', 'LOSS', 'PUBLIC', 'SERVICE', 'ROUNDING', 'GRANT_FUND'));

-- CLOUD: the cloud holds the money, rates the readings and cuts by command.
ALTER TABLE metering_meter DROP CONSTRAINT metering_meter_credit_mode_check;
ALTER TABLE metering_meter ADD CONSTRAINT metering_meter_credit_mode_check
    CHECK (credit_mode IN ('METER', 'CLOUD', 'NONE'));
CREATE INDEX metering_meter_cloud ON metering_meter (group_id, id) WHERE credit_mode = 'CLOUD';

-- Whose purse the account's meters draw from; NULL: its own.
ALTER TABLE accounts_account ADD COLUMN purse_account_id uuid;
ALTER TABLE accounts_account ADD FOREIGN KEY (group_id, project_id, purse_account_id)
    REFERENCES accounts_account (group_id, project_id, id);

-- Kept balances. An account has its row from the start, so that whoever must wait has a row to wait for.
-- A claim (arrears) is a debit, a liability (what is owed to somebody) a credit: neither turns over.
ALTER TABLE ledger_balance ADD COLUMN claim boolean NOT NULL DEFAULT false;
ALTER TABLE ledger_balance ADD CONSTRAINT ledger_balance_not_overdrawn
    CHECK (CASE WHEN claim THEN balance_hao >= 0 ELSE balance_hao <= 0 END);
REVOKE INSERT, UPDATE ON ledger_balance FROM shuidian_app;

CREATE FUNCTION ledger_open_balances() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO ledger_balance (group_id, account_id, balance_hao, claim)
        SELECT group_id, id, 0, kind LIKE '%\_ARREARS' FROM fresh
        WHERE kind IN ('PURSE', 'IN_TRANSIT', 'METER_WALLET', 'REFUND_DUE')
            OR kind LIKE '%\_ARREARS';
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_open_balances AFTER INSERT ON ledger_account
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION ledger_open_balances();

-- Take turns on kept balances until commit, in the order of their ids; what each holds then.
CREATE FUNCTION ledger_hold(of_group bigint, accounts uuid[])
    RETURNS TABLE (account_id uuid, balance_hao bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT b.account_id, b.balance_hao FROM ledger_balance b
    WHERE b.group_id = of_group AND b.account_id = ANY(accounts)
        AND of_group = NULLIF(current_setting('app.group_id', true), '')::bigint
    ORDER BY b.account_id FOR UPDATE
$$;

-- All postings of an entry come by one statement: checked once, however many they are. Counted over the
-- table and not only over what came, so that no later statement can add lines, not even balanced ones.
-- The keys of the postings are checked here as well: row by row that would cost more than all the rest
-- (docs/adr/0010). The balances of the accounts that keep one follow, in the order of their ids.
-- The planner must not read whole tables for a few rows, nor keep a plan of when they were empty.
CREATE FUNCTION ledger_postings_arrive() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    wrong record;
BEGIN
    SELECT f.entry_id, s.total, s.found INTO wrong
        FROM (SELECT DISTINCT group_id, project_id, entry_id FROM fresh) AS f
        LEFT JOIN ledger_entry e
            ON e.group_id = f.group_id AND e.project_id = f.project_id AND e.id = f.entry_id
        CROSS JOIN LATERAL (
            SELECT sum(amount_hao) AS total, count(*) AS found FROM ledger_posting p
            WHERE p.group_id = f.group_id AND p.entry_id = f.entry_id) AS s
        WHERE e.id IS NULL OR s.total <> 0 OR s.found <> e.lines LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entry % does not balance: sum % over % postings',
            wrong.entry_id, wrong.total, wrong.found
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_balances';
    END IF;
    IF EXISTS (SELECT FROM fresh f WHERE NOT EXISTS (
        SELECT FROM ledger_account a
        WHERE a.group_id = f.group_id AND a.project_id = f.project_id AND a.id = f.account_id))
    THEN
        RAISE EXCEPTION 'a posting is on an account that this project has not'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_posting_account';
    END IF;
    PERFORM FROM (SELECT DISTINCT group_id, account_id FROM fresh) AS f
        JOIN ledger_balance b ON b.group_id = f.group_id AND b.account_id = f.account_id
        ORDER BY b.account_id FOR UPDATE OF b;
    UPDATE ledger_balance b SET balance_hao = b.balance_hao + s.amount_hao
        FROM (SELECT group_id, account_id, sum(amount_hao)::bigint AS amount_hao
            FROM fresh GROUP BY group_id, account_id) AS s
        WHERE b.group_id = s.group_id AND b.account_id = s.account_id;
    RETURN NULL;
END $$;
DROP TRIGGER ledger_posting_balances ON ledger_posting;
DROP TRIGGER ledger_entry_balances ON ledger_entry;
DROP FUNCTION ledger_entry_balances();
ALTER TABLE ledger_posting
    DROP CONSTRAINT ledger_posting_group_id_project_id_entry_id_fkey,
    DROP CONSTRAINT ledger_posting_group_id_project_id_account_id_fkey;
CREATE TRIGGER ledger_postings_arrive AFTER INSERT ON ledger_posting
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION ledger_postings_arrive();

-- An entry without postings is seen when its transaction commits.
CREATE FUNCTION ledger_entry_has_postings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ledger_posting WHERE group_id = NEW.group_id AND entry_id = NEW.id)
    THEN
        RAISE EXCEPTION 'ledger entry % has no postings', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_entry_has_postings';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_entry_has_postings AFTER INSERT ON ledger_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_has_postings();

-- What is taken from a lot is kept beside it by the triggers of its uses and returns; nobody else can.
ALTER TABLE ledger_lot ADD COLUMN used_hao bigint NOT NULL DEFAULT 0;
-- What stands already, group by group: row-level security binds the owner as well.
DO $$
DECLARE
    of_group bigint;
BEGIN
    FOR of_group IN SELECT tenancy_groups() LOOP
        PERFORM set_config('app.group_id', of_group::text, true);
        INSERT INTO ledger_balance (group_id, account_id, balance_hao)
            SELECT group_id, id, 0 FROM ledger_account
            WHERE group_id = of_group AND kind IN ('PURSE', 'IN_TRANSIT', 'METER_WALLET')
            ON CONFLICT DO NOTHING;
        UPDATE ledger_lot l SET used_hao = u.used_hao
            FROM (SELECT lot_id, sum(amount_hao)::bigint AS used_hao FROM ledger_lot_use
                WHERE group_id = of_group GROUP BY lot_id) AS u
            WHERE l.group_id = of_group AND u.lot_id = l.id;
    END LOOP;
    PERFORM set_config('app.group_id', '', true);
END $$;
ALTER TABLE ledger_lot ADD CONSTRAINT ledger_lot_not_overdrawn
    CHECK (used_hao BETWEEN 0 AND amount_hao);
ALTER TABLE ledger_lot SET (fillfactor = 70);
CREATE FUNCTION ledger_lot_begins_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.used_hao := 0;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_lot_begins_whole BEFORE INSERT ON ledger_lot
    FOR EACH ROW EXECUTE FUNCTION ledger_lot_begins_whole();

-- What comes back to a lot: a use was reversed, or a charge was corrected downwards (C13).
CREATE TABLE ledger_lot_return (
    group_id bigint NOT NULL,
    lot_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    amount_hao bigint NOT NULL CHECK (amount_hao > 0),
    PRIMARY KEY (group_id, lot_id, entry_id)
);
CALL isolate_tenant_table('ledger_lot_return', 'SELECT, INSERT');

CREATE FUNCTION ledger_lots_move() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    sign integer := CASE TG_TABLE_NAME WHEN 'ledger_lot_use' THEN 1 ELSE -1 END;
BEGIN
    IF EXISTS (SELECT FROM fresh f WHERE NOT EXISTS (
            SELECT FROM ledger_lot l WHERE l.group_id = f.group_id AND l.id = f.lot_id))
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, entry_id FROM fresh) AS f WHERE NOT EXISTS (
            SELECT FROM ledger_entry e WHERE e.group_id = f.group_id AND e.id = f.entry_id))
    THEN
        RAISE EXCEPTION 'a lot or an entry that this group has not'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_lots_move';
    END IF;
    PERFORM FROM (SELECT DISTINCT group_id, lot_id FROM fresh) AS f
        JOIN ledger_lot l ON l.group_id = f.group_id AND l.id = f.lot_id
        ORDER BY l.id FOR UPDATE OF l;
    UPDATE ledger_lot l SET used_hao = l.used_hao + sign * s.amount_hao
        FROM (SELECT group_id, lot_id, sum(amount_hao)::bigint AS amount_hao
            FROM fresh GROUP BY group_id, lot_id) AS s
        WHERE l.group_id = s.group_id AND l.id = s.lot_id;
    RETURN NULL;
END $$;
DROP TRIGGER ledger_lot_not_overdrawn ON ledger_lot_use;
DROP FUNCTION ledger_lot_not_overdrawn();
ALTER TABLE ledger_lot_use
    DROP CONSTRAINT ledger_lot_use_group_id_lot_id_fkey,
    DROP CONSTRAINT ledger_lot_use_group_id_entry_id_fkey;
CREATE TRIGGER ledger_lots_move AFTER INSERT ON ledger_lot_use
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION ledger_lots_move();
CREATE TRIGGER ledger_lots_move AFTER INSERT ON ledger_lot_return
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION ledger_lots_move();

REVOKE ALL ON FUNCTION ledger_open_balances(), ledger_hold(bigint, uuid[]), ledger_postings_arrive(),
    ledger_lots_move() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_hold(bigint, uuid[]) TO shuidian_app;
