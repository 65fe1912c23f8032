-- Gateways, meters, assignments, readings.

CREATE TABLE metering_gateway (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    serial text NOT NULL CHECK (serial ~ '^[A-Za-z0-9-]{4,32}$'),
    name text NOT NULL CHECK (name <> ''),
    -- How its bytes reach us. TCP and MODBUS_TCP are dialled; the others dial in.
    link text NOT NULL
        CHECK (link IN ('TCP', 'MODBUS_TCP', 'DTU', 'UPLINK', 'ACREL_GATEWAY', 'ACREL_4G')),
    address text CHECK (address ~ '^[^:/]+:[0-9]{1,5}$'),
    silent_since timestamptz,
    answered_at timestamptz,
    created_at timestamptz NOT NULL,
    CHECK ((link IN ('TCP', 'MODBUS_TCP')) = (address IS NOT NULL)),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, serial),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('metering_gateway', 'SELECT, INSERT, UPDATE');

CREATE TABLE metering_meter (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    gateway_id uuid NOT NULL,
    serial text NOT NULL CHECK (serial ~ '^[A-Za-z0-9-]{4,32}$'),
    profile text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ELECTRICITY', 'WATER', 'HEAT')),
    bus smallint NOT NULL CHECK (bus BETWEEN 1 AND 16),
    bus_address text NOT NULL CHECK (bus_address ~ '^[0-9]{1,14}$'),
    -- METER: it holds its own money. NONE: it is read and controlled but not sold to.
    credit_mode text NOT NULL CHECK (credit_mode IN ('METER', 'NONE')),
    selling_stopped_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, serial),
    UNIQUE (group_id, gateway_id, bus, bus_address),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, gateway_id)
        REFERENCES metering_gateway (group_id, project_id, id)
);
CALL isolate_tenant_table('metering_meter', 'SELECT, INSERT, UPDATE');

-- Meter M serves account A from started_at to ended_at. A new assignment is a new counter epoch (C9):
-- purchase numbers are allocated from last_purchase_no, which starts at the meter's own count.
CREATE TABLE metering_assignment (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    account_id uuid NOT NULL,
    counter_epoch integer NOT NULL CHECK (counter_epoch > 0),
    started_at timestamptz NOT NULL,
    ended_at timestamptz CHECK (ended_at >= started_at),
    opening_total bigint NOT NULL CHECK (opening_total >= 0),
    opening_purchase_no integer NOT NULL CHECK (opening_purchase_no >= 0),
    closing_total bigint,
    last_purchase_no integer NOT NULL CHECK (last_purchase_no >= opening_purchase_no),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, meter_id, counter_epoch),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id)
);
CREATE UNIQUE INDEX metering_assignment_live ON metering_assignment (group_id, meter_id)
    WHERE ended_at IS NULL;
CREATE INDEX metering_assignment_account ON metering_assignment (group_id, account_id)
    WHERE ended_at IS NULL;
CALL isolate_tenant_table('metering_assignment', 'SELECT, INSERT, UPDATE');

-- Plain integers, one row a meter and instant (C24). `total` is the meter's main register in the unit
-- of its kind: Wh, litres, Wh of heat. relay: 0 open, 1 closed, NULL unknown. One partition a UTC day.
CREATE TABLE metering_reading (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    meter_clock timestamptz,
    total bigint NOT NULL,
    spike_wh bigint,
    peak_wh bigint,
    flat_wh bigint,
    valley_wh bigint,
    deep_wh bigint,
    cold_wh bigint,
    remaining_hao bigint,
    purchase_no integer,
    relay smallint CHECK (relay IN (0, 1)),
    voltage_mv integer,
    current_ma integer,
    power_w integer,
    PRIMARY KEY (group_id, meter_id, at)
) PARTITION BY RANGE (at);
CALL isolate_tenant_table('metering_reading', 'SELECT, INSERT');

-- What a foreign key would say, once a statement: checked row by row it costs more than all the rest
-- of storing a reading (docs/adr/0010). Meters are never deleted. The planner must not read all meters
-- to check a few.
CREATE FUNCTION metering_reading_has_meter() RETURNS trigger
    LANGUAGE plpgsql SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    IF EXISTS (SELECT FROM fresh f WHERE NOT EXISTS (
        SELECT FROM metering_meter m WHERE m.group_id = f.group_id AND m.id = f.meter_id))
    THEN
        RAISE foreign_key_violation USING MESSAGE = 'a reading is of a meter that this group has not';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER has_meter AFTER INSERT ON metering_reading
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION metering_reading_has_meter();

CREATE TABLE metering_latest (
    group_id bigint NOT NULL,
    meter_id uuid NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    meter_clock timestamptz,
    total bigint NOT NULL,
    spike_wh bigint,
    peak_wh bigint,
    flat_wh bigint,
    valley_wh bigint,
    deep_wh bigint,
    cold_wh bigint,
    remaining_hao bigint,
    purchase_no integer,
    relay smallint CHECK (relay IN (0, 1)),
    voltage_mv integer,
    current_ma integer,
    power_w integer,
    PRIMARY KEY (group_id, meter_id),
    FOREIGN KEY (group_id, meter_id) REFERENCES metering_meter (group_id, id)
) WITH (fillfactor = 50);
CALL isolate_tenant_table('metering_latest', 'SELECT, INSERT, UPDATE');

-- Makes a table and then a partition of it: attaching lets others read and write the parent meanwhile.
-- A partition has no grants, so it cannot be read around its parent's row-level security.
CREATE PROCEDURE metering_attach(parent text, name text, lower_end text, upper_end text)
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(name));
    -- Not by to_regclass, which may still hold that there was none before the wait.
    IF NOT EXISTS (SELECT FROM pg_class
        WHERE relname = name AND relnamespace = 'public'::regnamespace)
    THEN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            parent, name, lower_end, upper_end);
    END IF;
END $$;

-- The application may ask for partitions but owns none.
CREATE FUNCTION metering_ensure_day(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := format('metering_reading_%s', to_char(day, 'YYYYMMDD'));
BEGIN
    IF to_regclass(name) IS NULL THEN
        CALL metering_attach(
            'metering_reading', name, to_char(day, 'YYYY-MM-DD 00:00+00'),
            to_char(day + 1, 'YYYY-MM-DD 00:00+00'));
    END IF;
END $$;

-- Whether raw rows of a UTC day can be stored. Days are closed in their order (0010_history.sql), so a
-- day without a partition is closed when it lies before the oldest that has one, else it gets one. An
-- open day stays open until the caller's transaction ends.
CREATE FUNCTION metering_open_day(day date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := format('metering_reading_%s', to_char(day, 'YYYYMMDD'));
BEGIN
    IF to_regclass(name) IS NULL THEN
        IF name < (SELECT min(inhrelid::regclass::text) FROM pg_inherits
            WHERE inhparent = 'metering_reading'::regclass)
        THEN
            RETURN false;
        END IF;
        PERFORM metering_ensure_day(day);
    END IF;
    EXECUTE format('LOCK TABLE %I IN ROW EXCLUSIVE MODE', name);
    RETURN true;
EXCEPTION WHEN undefined_table THEN  -- it was dropped while we waited
    RETURN false;
END $$;
REVOKE ALL ON PROCEDURE metering_attach(text, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION metering_ensure_day(date), metering_open_day(date),
    metering_reading_has_meter() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering_ensure_day(date), metering_open_day(date) TO shuidian_app;
