-- Gateways, meters, assignments, readings.

CREATE TABLE metering_gateway (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    serial text NOT NULL CHECK (serial ~ '^[A-Za-z0-9-]{4,32}$'),
    name text NOT NULL CHECK (name <> ''),
    -- How its bytes reach us. Only a TCP gateway is dialled; the others dial in (docs/adr/0009).
    link text NOT NULL CHECK (link IN ('TCP', 'DTU', 'UPLINK', 'ACREL_GATEWAY', 'ACREL_4G')),
    address text CHECK (address ~ '^[^:/]+:[0-9]{1,5}$'),
    silent_since timestamptz,
    answered_at timestamptz,
    created_at timestamptz NOT NULL,
    CHECK ((link = 'TCP') = (address IS NOT NULL)),
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
-- of its kind: Wh, litres, Wh of heat. relay: 0 open, 1 closed, NULL unknown.
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
    PRIMARY KEY (group_id, meter_id, at),
    FOREIGN KEY (group_id, meter_id) REFERENCES metering_meter (group_id, id)
) PARTITION BY RANGE (at);
CALL isolate_tenant_table('metering_reading', 'SELECT, INSERT');

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

-- One partition a UTC month. The application may ask for one but owns none; a partition has no
-- grants, so it cannot be read around its parent's row-level security.
CREATE FUNCTION metering_ensure_month(day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', day)::date;
    name text := format('metering_reading_%s', to_char(first, 'YYYYMM'));
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(name));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF metering_reading FOR VALUES FROM (%L) TO (%L)',
            name, first::timestamp AT TIME ZONE 'UTC',
            (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END IF;
END $$;
REVOKE ALL ON FUNCTION metering_ensure_month(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering_ensure_month(date) TO shuidian_app;
