-- Who may dial in (backend/metering/dial_in.py): the registration by which a DTU, an Acrel 4G meter or an
-- Acrel gateway names itself. No row, no line. `secret` is sealed (backend/kernel/secrets.py).

CREATE TABLE metering_dial_in (
    group_id bigint NOT NULL,
    gateway_id uuid NOT NULL,
    link text NOT NULL CHECK (link IN ('DTU', 'ACREL_GATEWAY', 'ACREL_4G')),
    registration bytea NOT NULL CHECK (length(registration) BETWEEN 4 AND 40),
    prefix boolean NOT NULL,
    heartbeat bytea CHECK (length(heartbeat) BETWEEN 1 AND 40),
    secret bytea,
    set_at timestamptz NOT NULL,
    CHECK ((link = 'ACREL_GATEWAY') = (secret IS NOT NULL)),
    CHECK (link = 'DTU' OR NOT prefix),
    CHECK (link = 'DTU' OR heartbeat IS NULL),
    PRIMARY KEY (group_id, gateway_id),
    FOREIGN KEY (group_id, gateway_id) REFERENCES metering_gateway (group_id, id)
);
CALL isolate_tenant_table('metering_dial_in', 'SELECT, INSERT, UPDATE');

-- Whoever dials in says nothing but its registration, so a registration is one group's only. Not a
-- tenant table: the application reaches it by the function below only, and it follows metering_dial_in.
CREATE TABLE metering_dial_in_directory (
    link text NOT NULL,
    registration bytea NOT NULL,
    group_id bigint NOT NULL,
    gateway_id uuid NOT NULL,
    PRIMARY KEY (link, registration),
    UNIQUE (group_id, gateway_id),
    FOREIGN KEY (group_id, gateway_id) REFERENCES metering_dial_in (group_id, gateway_id)
);
CREATE FUNCTION metering_list_dial_in() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO metering_dial_in_directory (link, registration, group_id, gateway_id)
        VALUES (NEW.link, NEW.registration, NEW.group_id, NEW.gateway_id)
        ON CONFLICT (group_id, gateway_id)
        DO UPDATE SET link = EXCLUDED.link, registration = EXCLUDED.registration;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION metering_list_dial_in() FROM PUBLIC;
CREATE TRIGGER metering_list_dial_in AFTER INSERT OR UPDATE ON metering_dial_in
    FOR EACH ROW EXECUTE FUNCTION metering_list_dial_in();

-- Whose the longest of `openings` (shortest first) that somebody has is, and whether a longer registration
-- begins with the last of them: then more may still come that tells otherwise.
CREATE FUNCTION metering_dial_in_of(wanted text, openings bytea[])
    RETURNS TABLE (of_group bigint, of_gateway uuid, longer boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT d.group_id, d.gateway_id, EXISTS (
            SELECT FROM metering_dial_in_directory l
            WHERE l.link = wanted AND l.registration > openings[array_upper(openings, 1)]
                AND l.registration < openings[array_upper(openings, 1)] || decode(repeat('ff', 41), 'hex')
        )
    FROM metering_dial_in_directory d
    WHERE d.link = wanted AND d.registration = ANY (openings)
    ORDER BY length(d.registration) DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION metering_dial_in_of(text, bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION metering_dial_in_of(text, bytea[]) TO shuidian_app;
