-- Charges of CLOUD meters (C13-C18): what was rated and posted, from which readings, by which version.

-- What an account uses of a kind; its row is what charging takes turns on.
CREATE TABLE charges_supply (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ELECTRICITY', 'WATER', 'HEAT')),
    started_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, account_id, kind),
    UNIQUE (group_id, project_id, account_id, kind),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id)
);
CALL isolate_tenant_table('charges_supply', 'SELECT, INSERT, UPDATE');

-- How far a meter assignment is charged: the reading up to which, and what the next unit costs by then.
-- The baseline is the opening (C14); `estimated`: a provisional charge stands (C15). A hold stops charging until a person rules on the reading at held_at.
CREATE TABLE charges_position (
    group_id bigint NOT NULL,
    assignment_id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    meter_id uuid NOT NULL,
    baseline_at timestamptz NOT NULL,
    rated_at timestamptz NOT NULL CHECK (rated_at >= baseline_at),
    total bigint NOT NULL,
    spike_wh bigint,
    peak_wh bigint,
    flat_wh bigint,
    valley_wh bigint,
    deep_wh bigint,
    baseline jsonb NOT NULL,
    seq integer NOT NULL DEFAULT 0 CHECK (seq >= 0),
    price_hao bigint NOT NULL DEFAULT 0,
    estimated boolean NOT NULL DEFAULT false,
    held_at timestamptz,
    hold text CHECK (hold IN ('NEGATIVE', 'NO_TARIFF')),
    CHECK ((held_at IS NULL) = (hold IS NULL)),
    PRIMARY KEY (group_id, assignment_id),
    UNIQUE (group_id, project_id, assignment_id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, account_id, kind)
        REFERENCES charges_supply (group_id, project_id, account_id, kind)
) WITH (fillfactor = 50);
CREATE INDEX charges_position_account ON charges_position (group_id, account_id, kind);
CREATE INDEX charges_position_meter ON charges_position (group_id, meter_id);
CALL isolate_tenant_table('charges_position', 'SELECT, INSERT, UPDATE');

-- What a person ruled of a reading that would make use negative: IGNORE it, or REBASE on it.
CREATE TABLE charges_ruling (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    at timestamptz NOT NULL,
    ruling text NOT NULL CHECK (ruling IN ('IGNORE', 'REBASE')),
    ruled_by text NOT NULL,
    ruled_at timestamptz NOT NULL,
    note text NOT NULL CHECK (length(note) >= 4),
    PRIMARY KEY (group_id, assignment_id, at),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES charges_position (group_id, project_id, assignment_id)
);
CALL isolate_tenant_table('charges_ruling', 'SELECT, INSERT');

-- A month of a supply to date: the use of all its meters in each span of one version and season, and what
-- is posted for it, in hao by line. What is posted next is the difference (C13).
CREATE TABLE charges_month (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    kind text NOT NULL,
    month date NOT NULL CHECK (date_trunc('month', month) = month),
    rated_until timestamptz NOT NULL,
    used bigint NOT NULL CHECK (used >= 0),
    segments jsonb NOT NULL,
    energy_hao bigint NOT NULL,
    fixed_hao bigint NOT NULL,
    loss_hao bigint NOT NULL,
    public_hao bigint NOT NULL,
    service_hao bigint NOT NULL,
    PRIMARY KEY (group_id, account_id, kind, month),
    FOREIGN KEY (group_id, project_id, account_id, kind)
        REFERENCES charges_supply (group_id, project_id, account_id, kind)
) WITH (fillfactor = 50);
CALL isolate_tenant_table('charges_month', 'SELECT, INSERT, UPDATE');

-- One charge: the use of an assignment between two readings, as far as it falls into one day and span, and
-- what it adds to the month. CORRECTION: what a month costs more or less by readings that came late or by
-- a ruling; `detail` has its segments before and after. ESTIMATE is provisional: never edited, taken
-- back whole by ESTIMATE_REVERSED when the true reading comes (C15).
CREATE TABLE charges_charge (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    purse_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    seq integer NOT NULL CHECK (seq > 0),
    reason text NOT NULL CHECK (reason IN ('USE', 'CORRECTION', 'ESTIMATE', 'ESTIMATE_REVERSED')),
    kind text NOT NULL,
    month date NOT NULL,
    day date NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL CHECK (to_at >= from_at),
    from_total bigint,
    to_total bigint,
    spike bigint NOT NULL,
    peak bigint NOT NULL,
    flat bigint NOT NULL,
    valley bigint NOT NULL,
    deep bigint NOT NULL,
    unbanded bigint NOT NULL,
    shared boolean NOT NULL,
    version_id uuid,
    season smallint,
    step_before bigint,
    use_before bigint[],
    days smallint[],
    detail jsonb,
    energy_hao bigint NOT NULL,
    fixed_hao bigint NOT NULL,
    loss_hao bigint NOT NULL,
    public_hao bigint NOT NULL,
    service_hao bigint NOT NULL,
    entry_id uuid,
    charged_at timestamptz NOT NULL,
    CHECK (reason = 'CORRECTION' OR version_id IS NOT NULL),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, assignment_id, seq)
);
CREATE INDEX charges_charge_account ON charges_charge (group_id, account_id, id DESC);
CALL isolate_tenant_table('charges_charge', 'SELECT, INSERT');

-- Its keys, once a statement: row by row that costs more than all the rest (docs/adr/0010). Assignments,
-- accounts, versions and entries are never deleted. The planner must not read whole tables for a few rows.
CREATE FUNCTION charges_charge_has_all() RETURNS trigger
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
        OR EXISTS (SELECT FROM (SELECT DISTINCT group_id, project_id, purse_id FROM fresh) AS f
            WHERE NOT EXISTS (SELECT FROM accounts_account a
                WHERE a.group_id = f.group_id AND a.project_id = f.project_id AND a.id = f.purse_id))
    THEN
        RAISE foreign_key_violation USING MESSAGE = 'a charge points at what this project has not';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER charges_charge_has_all AFTER INSERT ON charges_charge
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION charges_charge_has_all();
CREATE FUNCTION charges_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a charge is never edited: the next one posts the difference'
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER charges_charge_append_only BEFORE UPDATE OR DELETE ON charges_charge
    FOR EACH ROW EXECUTE FUNCTION charges_refuse_change();

-- Classes of credit: how far a purse may go below zero, what it is given each month, how much it can draw
-- in an emergency. An account without a class has none of it.
CREATE TABLE charges_class (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (name <> ''),
    overdraft_hao bigint NOT NULL CHECK (overdraft_hao >= 0),
    emergency_hao bigint NOT NULL CHECK (emergency_hao >= 0),
    monthly_grant_hao bigint NOT NULL CHECK (monthly_grant_hao >= 0),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, name),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('charges_class', 'SELECT, INSERT, UPDATE');

-- emergency_hao: what the account has drawn and not yet had back from a top-up. granted_month: the last month
-- it was given its grant for.
CREATE TABLE charges_terms (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    class_id uuid NOT NULL,
    emergency_hao bigint NOT NULL DEFAULT 0 CHECK (emergency_hao >= 0),
    emergency_at timestamptz,
    granted_month date,
    PRIMARY KEY (group_id, account_id),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, class_id) REFERENCES charges_class (group_id, project_id, id)
);
CALL isolate_tenant_table('charges_terms', 'SELECT, INSERT, UPDATE');
