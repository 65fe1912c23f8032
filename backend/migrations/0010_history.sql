-- History: packed days, roll-ups, episodes (docs/adr/0010).

ALTER TABLE tenancy_project ADD COLUMN lost_after_sweeps smallint NOT NULL DEFAULT 3
    CHECK (lost_after_sweeps BETWEEN 1 AND 48);

-- The samples of a meter and UTC day whose raw partition is closed, packed (backend/metering/packing.py).
-- Append-only as the raw rows are: a late reading becomes one more part, nothing is rewritten.
-- `late`: came after the day was closed; the others were packed out of the raw rows, just once.
CREATE TABLE metering_packed (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    day date NOT NULL,
    part smallint NOT NULL CHECK (part > 0),
    late boolean NOT NULL,
    samples smallint NOT NULL CHECK (samples BETWEEN 1 AND 1440),
    packed bytea NOT NULL CHECK (length(packed) <= 262144),
    PRIMARY KEY (group_id, meter_id, day, part),
    FOREIGN KEY (group_id, meter_id) REFERENCES metering_meter (group_id, id)
) PARTITION BY RANGE (day);
ALTER TABLE metering_packed ALTER COLUMN packed SET STORAGE EXTERNAL;
CALL isolate_tenant_table('metering_packed', 'SELECT, INSERT');

-- What a stored batch touched: written with it, taken away by the roll-up of these meters and days.
-- `day` (in China) and `about` (the first of the meters) only bring together what belongs together.
CREATE TABLE metering_touched (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    day date NOT NULL,
    about uuid NOT NULL,
    id uuid NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL CHECK (last_at >= first_at),
    meter_ids uuid[] NOT NULL,
    PRIMARY KEY (group_id, day, about, id)
);
CALL isolate_tenant_table('metering_touched', 'SELECT, INSERT, DELETE');

-- Roll-ups of a business day of the project's zone, from just after its midnight up to and including
-- the next one. `epoch` is the assignment's counter epoch, 0 while the meter serves nobody: no
-- difference ever crosses two epochs (C14). Use is the difference of the registers at both ends; when
-- registers went back it is not hidden: `backward` counts the steps. `gaps`: how many pauses of more
-- than two sweeps ended in this day, so that its use may belong to earlier ones.
CREATE TABLE metering_day (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    epoch integer NOT NULL CHECK (epoch >= 0),
    day date NOT NULL,
    opening bigint NOT NULL,
    closing bigint NOT NULL,
    closed_at timestamptz NOT NULL,
    spike_wh bigint,
    peak_wh bigint,
    flat_wh bigint,
    valley_wh bigint,
    deep_wh bigint,
    cold_wh bigint,
    closing_spike_wh bigint,
    closing_peak_wh bigint,
    closing_flat_wh bigint,
    closing_valley_wh bigint,
    closing_deep_wh bigint,
    closing_cold_wh bigint,
    max_power_w integer,
    samples integer NOT NULL CHECK (samples >= 0),
    gaps integer NOT NULL CHECK (gaps >= 0),
    backward integer NOT NULL CHECK (backward >= 0),
    PRIMARY KEY (group_id, meter_id, epoch, day),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
) PARTITION BY RANGE (day);
CREATE INDEX metering_day_project ON metering_day (group_id, project_id, day);
CALL isolate_tenant_table('metering_day', 'SELECT, INSERT, UPDATE, DELETE');

-- The hours of such a day that were read: bit n of `hours` is the n-th hour after its midnight, and each
-- text holds one figure an hour of these, parted by commas, an unknown one empty (`gaps`: NULL when there
-- was none). As arrays of bigint they would take more than the samples themselves.
CREATE TABLE metering_hours (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    epoch integer NOT NULL CHECK (epoch >= 0),
    day date NOT NULL,
    hours integer NOT NULL CHECK (hours > 0),
    used text NOT NULL,
    spike_wh text,
    peak_wh text,
    flat_wh text,
    valley_wh text,
    deep_wh text,
    cold_wh text,
    max_power_w text,
    samples text NOT NULL,
    gaps text,
    PRIMARY KEY (group_id, meter_id, epoch, day),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
) PARTITION BY RANGE (day);
CALL isolate_tenant_table('metering_hours', 'SELECT, INSERT, UPDATE, DELETE');

-- Episodes (C24, C26): LOST a meter that missed its sweeps, SILENT a gateway whose line is down, CLOCK
-- one whose clock is off by more than five minutes. One open episode of a kind and thing.
CREATE TABLE metering_episode (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    gateway_id uuid NOT NULL,
    meter_id uuid,
    kind text NOT NULL CHECK (kind IN ('LOST', 'SILENT', 'CLOCK')),
    started_at timestamptz NOT NULL,
    noticed_at timestamptz NOT NULL,
    ended_at timestamptz CHECK (ended_at >= started_at),
    drift_s integer,
    CHECK (meter_id IS NOT NULL OR kind <> 'LOST'),
    CHECK (meter_id IS NULL OR kind <> 'SILENT'),
    CHECK ((drift_s IS NULL) = (kind <> 'CLOCK')),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, gateway_id)
        REFERENCES metering_gateway (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id)
);
CREATE UNIQUE INDEX metering_episode_of_meter ON metering_episode (group_id, meter_id, kind)
    WHERE ended_at IS NULL AND meter_id IS NOT NULL;
CREATE UNIQUE INDEX metering_episode_of_gateway ON metering_episode (group_id, gateway_id, kind)
    WHERE ended_at IS NULL AND meter_id IS NULL;
CREATE INDEX metering_episode_project ON metering_episode (group_id, project_id, id DESC);
CREATE INDEX metering_episode_gateway ON metering_episode (group_id, gateway_id, ended_at)
    WHERE kind = 'SILENT';
CALL isolate_tenant_table('metering_episode', 'SELECT, INSERT, UPDATE');

-- Since when we have been looking without a pause: what nobody looked for was not missed.
CREATE TABLE metering_watch (
    group_id bigint PRIMARY KEY REFERENCES tenancy_group,
    since timestamptz NOT NULL,
    looked_at timestamptz NOT NULL
);
CALL isolate_tenant_table('metering_watch', 'SELECT, INSERT, UPDATE');

-- A month of the tables that are kept for long.
CREATE FUNCTION metering_ensure_month(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', day)::date;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['metering_packed', 'metering_hours', 'metering_day'] LOOP
        IF to_regclass(format('%s_%s', name, to_char(first, 'YYYYMM'))) IS NULL THEN
            CALL metering_attach(
                name, format('%s_%s', name, to_char(first, 'YYYYMM')), to_char(first, 'YYYY-MM-DD'),
                to_char(first + interval '1 month', 'YYYY-MM-DD'));
        END IF;
    END LOOP;
END $$;

-- What the days around `today` need: made ahead, so that storing seldom has to.
CREATE FUNCTION metering_prepare(today date) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT metering_ensure_day(today + n) FROM generate_series(-3, 7) AS n;
    SELECT metering_ensure_month((today + n * interval '1 month')::date)
        FROM generate_series(-1, 1) AS n;
$$;

-- Drops the raw rows of a closed UTC day, if each of them is packed and rolled up; says whether it is
-- gone. Writers are kept out while it looks; readers are not, until the very drop.
CREATE FUNCTION metering_drop_day(closed date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text := format('metering_reading_%s', to_char(closed, 'YYYYMMDD'));
    first timestamptz := to_char(closed, 'YYYY-MM-DD 00:00+00');
    after timestamptz := to_char(closed + 1, 'YYYY-MM-DD 00:00+00');
BEGIN
    IF to_regclass(name) IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', name);
    IF EXISTS (SELECT FROM metering_touched WHERE first_at < after AND last_at >= first) OR EXISTS (
        SELECT FROM (
            SELECT group_id, meter_id, count(*) AS n FROM metering_reading
            WHERE at >= first AND at < after GROUP BY group_id, meter_id) AS raw
        LEFT JOIN (
            SELECT group_id, meter_id, sum(samples) AS n FROM metering_packed
            WHERE day = closed AND NOT late GROUP BY group_id, meter_id) AS held
        USING (group_id, meter_id) WHERE held.n IS DISTINCT FROM raw.n)
    THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;

-- Drops a month of a table that is kept for long once all of it is older than `kept_from`; says whether
-- it is gone. Packed samples only when each meter-day was rolled up. Whatever it is told, what is
-- younger than 35 days stays.
CREATE FUNCTION metering_drop_month(of_table text, month date, kept_from date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    after date := (date_trunc('month', month) + interval '1 month')::date;
    name text := format('%s_%s', of_table, to_char(month, 'YYYYMM'));
BEGIN
    IF of_table NOT IN ('metering_packed', 'metering_hours', 'metering_day')
        OR after > least(kept_from, (now() - interval '35 days')::date)
    THEN
        RETURN false;
    END IF;
    IF to_regclass(name) IS NULL THEN
        RETURN true;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', name);
    IF of_table = 'metering_packed' AND (
        EXISTS (SELECT FROM metering_touched t WHERE t.day >= first - 1 AND t.day <= after)
        OR EXISTS (
            SELECT FROM metering_packed p WHERE p.day >= first AND p.day < after AND NOT EXISTS (
                SELECT FROM metering_day d WHERE d.group_id = p.group_id AND d.meter_id = p.meter_id
                AND d.day BETWEEN p.day - 1 AND p.day + 1)))
    THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION metering_ensure_month(date), metering_prepare(date), metering_drop_day(date),
    metering_drop_month(text, date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering_ensure_month(date), metering_prepare(date), metering_drop_day(date),
    metering_drop_month(text, date, date) TO shuidian_app;
