-- The guards of the book find each row once. To look whether it is there, to lock it and to move it were three
-- searches of the same index: most of what a posting cost.

-- A balance says whose project it is of, so that it tells by itself whether a posting fits its account.
ALTER TABLE ledger_balance ADD COLUMN project_id uuid;
-- What stands already, group by group: row-level security binds the owner as well.
DO $$
DECLARE
    of_group bigint;
BEGIN
    FOR of_group IN SELECT tenancy_groups() LOOP
        PERFORM set_config('app.group_id', of_group::text, true);
        UPDATE ledger_balance b SET project_id = a.project_id FROM ledger_account a
            WHERE b.group_id = of_group AND a.group_id = of_group AND a.id = b.account_id;
    END LOOP;
    PERFORM set_config('app.group_id', '', true);
END $$;
ALTER TABLE ledger_balance
    ALTER COLUMN project_id SET NOT NULL,
    DROP CONSTRAINT ledger_balance_group_id_account_id_fkey,
    ADD FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES ledger_account (group_id, project_id, id);

CREATE OR REPLACE FUNCTION ledger_open_balances() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO ledger_balance (group_id, project_id, account_id, balance_hao, claim)
        SELECT group_id, project_id, id, 0, kind LIKE '%\_ARREARS' FROM fresh
        WHERE kind IN ('PURSE', 'IN_TRANSIT', 'METER_WALLET', 'REFUND_DUE')
            OR kind LIKE '%\_ARREARS';
    RETURN NULL;
END $$;

-- As before (0014_ledger.sql), but balances are moved without being looked for and locked before: the only
-- join that is left to the planner goes through `moves` in its order, which is the order of account ids.
-- What was moved tells whose account it is; of the others, which keep no balance, it is asked.
CREATE OR REPLACE FUNCTION ledger_postings_arrive() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    wrong record;
    strange bigint;
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
    WITH moves AS MATERIALIZED (
        SELECT group_id, project_id, account_id, sum(amount_hao)::bigint AS amount_hao
            FROM fresh GROUP BY group_id, project_id, account_id ORDER BY account_id),
    moved AS (
        UPDATE ledger_balance b SET balance_hao = b.balance_hao + m.amount_hao FROM moves m
            WHERE b.group_id = m.group_id AND b.account_id = m.account_id
            RETURNING b.project_id, b.account_id)
    SELECT count(*) INTO strange FROM moves m
        WHERE (m.project_id, m.account_id) NOT IN (SELECT project_id, account_id FROM moved)
            AND NOT EXISTS (
                SELECT FROM ledger_account a WHERE a.group_id = m.group_id
                    AND a.project_id = m.project_id AND a.id = m.account_id);
    IF strange > 0 THEN
        RAISE EXCEPTION 'a posting is on an account that this project has not'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_posting_account';
    END IF;
    RETURN NULL;
END $$;

-- A lot that was not moved is not there.
CREATE OR REPLACE FUNCTION ledger_lots_move() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    sign integer := CASE TG_TABLE_NAME WHEN 'ledger_lot_use' THEN 1 ELSE -1 END;
    strange bigint;
BEGIN
    WITH moves AS MATERIALIZED (
        SELECT group_id, lot_id, sum(amount_hao)::bigint AS amount_hao
            FROM fresh GROUP BY group_id, lot_id ORDER BY lot_id),
    moved AS (
        UPDATE ledger_lot l SET used_hao = l.used_hao + sign * m.amount_hao FROM moves m
            WHERE l.group_id = m.group_id AND l.id = m.lot_id
            RETURNING 1)
    SELECT (SELECT count(*) FROM moves) - (SELECT count(*) FROM moved) INTO strange;
    IF strange <> 0
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, entry_id FROM fresh) AS f WHERE NOT EXISTS (
            SELECT FROM ledger_entry e WHERE e.group_id = f.group_id AND e.id = f.entry_id))
    THEN
        RAISE EXCEPTION 'a lot or an entry that this group has not'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'ledger_lots_move';
    END IF;
    RETURN NULL;
END $$;

-- As before (0016_charges.sql), but a purse that is the account's own is not looked for: the position tells
-- that its account is of the project.
CREATE OR REPLACE FUNCTION charges_charge_has_all() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh f WHERE NOT EXISTS (
            SELECT FROM charges_position p WHERE p.group_id = f.group_id
            AND p.project_id = f.project_id AND p.assignment_id = f.assignment_id
            AND p.account_id = f.account_id))
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, version_id FROM fresh) AS f
            WHERE f.version_id IS NOT NULL AND NOT EXISTS (SELECT FROM tariffs_version v
                WHERE v.group_id = f.group_id AND v.id = f.version_id))
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, project_id, entry_id FROM fresh) AS f
            WHERE f.entry_id IS NOT NULL AND NOT EXISTS (SELECT FROM ledger_entry e
                WHERE e.group_id = f.group_id AND e.project_id = f.project_id AND e.id = f.entry_id))
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, project_id, purse_id FROM fresh
                WHERE purse_id <> account_id) AS f
            WHERE NOT EXISTS (SELECT FROM accounts_account a
                WHERE a.group_id = f.group_id AND a.project_id = f.project_id AND a.id = f.purse_id))
    THEN
        RAISE foreign_key_violation USING MESSAGE = 'a charge points at what this project has not';
    END IF;
    RETURN NULL;
END $$;

-- Segments are written and read whole: taken apart and put together again they cost twice the row's update.
ALTER TABLE charges_month ALTER COLUMN segments TYPE json USING segments::text::json;

-- Take turns on purses (by their refs) until commit, in the order of their ids, and see what their lots pay of
-- what each wants, grants first, then the oldest (C4): a row a lot, one without a lot for a purse that pays
-- nothing. No row at all, and nothing held, when one of the purses is not there yet: whoever makes it must not
-- hold others. Lots are looked at by a statement of its own, that sees what was there when the turn came.
-- Each table is asked once for all keys, in their order, which takes half of what a search for each takes; so
-- what was found is joined by hash.
CREATE FUNCTION ledger_draw(of_group bigint, of_project uuid, refs uuid[], wants bigint[])
    RETURNS TABLE (place bigint, purse_id uuid, lot_id uuid, amount_hao bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_nestloop = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    places bigint[];
    purses uuid[];
    held uuid[];
    funds bigint[];
BEGIN
    SELECT array_agg(w.place), array_agg(a.id) INTO places, purses
        FROM unnest(refs) WITH ORDINALITY AS w(ref, place)
        JOIN ledger_account a ON a.ref = w.ref
        WHERE a.group_id = of_group AND a.project_id = of_project AND a.kind = 'PURSE'
            AND a.ref = ANY(refs)
            AND of_group = NULLIF(current_setting('app.group_id', true), '')::bigint;
    IF cardinality(places) IS DISTINCT FROM cardinality(refs) THEN
        RETURN;
    END IF;
    SELECT array_agg(b.account_id), array_agg(-b.balance_hao) INTO held, funds
        FROM (SELECT account_id, balance_hao FROM ledger_balance
            WHERE group_id = of_group AND account_id = ANY(purses)
            ORDER BY account_id FOR UPDATE) AS b;
    RETURN QUERY SELECT d.place, d.purse_id, d.lot_id, least(d.remaining, d.wanted - d.before)
        FROM (SELECT p.place, p.purse_id, least(wants[p.place], h.funds) AS wanted, l.id AS lot_id,
                l.amount_hao - l.used_hao AS remaining,
                coalesce(sum(l.amount_hao - l.used_hao) OVER (PARTITION BY p.place
                    ORDER BY l.kind <> 'GRANT', l.created_at, l.id
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::bigint AS before
            FROM unnest(places, purses) AS p(place, purse_id)
            JOIN unnest(held, funds) AS h(purse_id, funds) ON h.purse_id = p.purse_id
            LEFT JOIN (SELECT * FROM ledger_lot WHERE group_id = of_group AND purse_id = ANY(purses)
                AND used_hao < amount_hao) AS l
                ON l.purse_id = p.purse_id AND least(wants[p.place], h.funds) > 0) AS d
        WHERE d.lot_id IS NULL OR d.before < d.wanted;
END $$;
REVOKE ALL ON FUNCTION ledger_draw(bigint, uuid, uuid[], bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger_draw(bigint, uuid, uuid[], bigint[]) TO shuidian_app;
