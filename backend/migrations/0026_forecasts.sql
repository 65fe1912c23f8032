-- How long money lasts (backend/charges/forecast_rules.py).

-- Customers are warned when so many days are left; 0: only before their office closes for longer.
ALTER TABLE tenancy_project ADD COLUMN warn_days_left smallint NOT NULL DEFAULT 3
    CHECK (warn_days_left BETWEEN 0 AND 30);

-- A row for each place where money is used up: a purse (`ref`: its account) or a meter that holds its own
-- (`ref`: its assignment, so that whoever comes after begins anew). `hours`: hao of each hour of a week from
-- Monday midnight; `day`: the last that was looked at. What was missed of what came, of the last days and
-- weeks. `days_left`, `zero_at`: as the last look found them, at `looked_at`.
CREATE TABLE charges_forecast (
    group_id bigint NOT NULL,
    ref uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    assignment_id uuid,
    day date NOT NULL,
    hours bigint[] NOT NULL CHECK (cardinality(hours) = 168),
    seen integer[] NOT NULL CHECK (cardinality(seen) = 7),
    level integer NOT NULL CHECK (level BETWEEN 100 AND 10000),
    away smallint NOT NULL CHECK (away >= 0),
    days_missed bigint[] NOT NULL,
    days_came bigint[] NOT NULL,
    weeks_missed bigint[] NOT NULL,
    weeks_came bigint[] NOT NULL,
    week_from date,
    week_said bigint NOT NULL,
    week_came bigint NOT NULL,
    basis text NOT NULL CHECK (basis IN ('LEARNING', 'IDLE', 'NO_PRICE', 'OWN_USE')),
    days_left integer CHECK (days_left >= 0),
    zero_at timestamptz,
    looked_at timestamptz NOT NULL,
    CHECK (basis = 'OWN_USE' OR num_nonnulls(days_left, zero_at) = 0),
    CHECK (cardinality(days_missed) = cardinality(days_came)),
    CHECK (cardinality(weeks_missed) = cardinality(weeks_came)),
    PRIMARY KEY (group_id, ref),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id)
) WITH (fillfactor = 50);
CREATE INDEX charges_forecast_project ON charges_forecast (group_id, project_id, zero_at);
CALL isolate_tenant_table('charges_forecast', 'SELECT, INSERT, UPDATE');

-- How far the forecasts of a project were off on a day, of all its accounts together. `off`: the sum of
-- what each was off, in thousandths of what it used, over the `accounts` that used something.
CREATE TABLE charges_forecast_day (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    day date NOT NULL,
    accounts integer NOT NULL CHECK (accounts >= 0),
    off bigint NOT NULL CHECK (off >= 0),
    missed_hao bigint NOT NULL CHECK (missed_hao >= 0),
    came_hao bigint NOT NULL CHECK (came_hao >= 0),
    PRIMARY KEY (group_id, project_id, day),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('charges_forecast_day', 'SELECT, INSERT, UPDATE');
