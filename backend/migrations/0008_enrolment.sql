-- The sealed line (A9): claims by which a gateway enrols once, its key ring, its root keys wrapped under
-- the KEK. Nothing here opens anything without the KEK, which is never in the database.

-- `verifier` is the one-way image of the code, wrapped for this id, group and serial.
CREATE TABLE enrolment_claim (
    group_id bigint NOT NULL,
    id bytea NOT NULL CHECK (length(id) = 8),
    project_id uuid NOT NULL,
    gateway_id uuid NOT NULL,
    serial text NOT NULL CHECK (serial ~ '^[A-Za-z0-9_-]{1,32}$'),
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    kek_version integer NOT NULL CHECK (kek_version BETWEEN 1 AND 65535),
    verifier bytea NOT NULL CHECK (length(verifier) = 40),
    wrong_tries integer NOT NULL DEFAULT 0 CHECK (wrong_tries >= 0),
    spent_at timestamptz,
    -- A newer claim or a revocation killed it.
    ended_at timestamptz,
    CHECK (expires_at > made_at AND expires_at - made_at <= interval '72 hours'),
    CHECK (spent_at IS NULL OR (ended_at IS NULL AND spent_at < expires_at)),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, project_id, gateway_id)
        REFERENCES metering_gateway (group_id, project_id, id)
);
-- One claim of a gateway at a time can still be used.
CREATE UNIQUE INDEX enrolment_claim_open ON enrolment_claim (group_id, gateway_id)
    WHERE spent_at IS NULL AND ended_at IS NULL;
CREATE INDEX enrolment_claim_id ON enrolment_claim (id);
CALL isolate_tenant_table('enrolment_claim', 'SELECT, INSERT, UPDATE');

-- Which versions of a gateway's key are good (backend/uplink/rotation.py, KeyRing). `revision` grows
-- with every change and rows are never deleted, so the sum over a group tells whether anything changed.
CREATE TABLE enrolment_ring (
    group_id bigint NOT NULL,
    gateway_id uuid NOT NULL,
    project_id uuid NOT NULL,
    serial text NOT NULL,
    wire_id bytea NOT NULL CHECK (length(wire_id) = 8),
    current_version integer,
    highest_version integer NOT NULL CHECK (highest_version BETWEEN 1 AND 65535),
    pending_version integer,
    offered_at timestamptz,
    acknowledged_at timestamptz,
    revoked_through integer NOT NULL CHECK (revoked_through BETWEEN 0 AND highest_version),
    enrolled_at timestamptz NOT NULL,
    rotation_wanted_at timestamptz,
    revoked_at timestamptz,
    revision bigint NOT NULL CHECK (revision > 0),
    CHECK (current_version > revoked_through AND current_version <= highest_version),
    CHECK (pending_version > current_version AND pending_version <= highest_version),
    CHECK ((pending_version IS NULL) = (offered_at IS NULL)),
    CHECK (acknowledged_at IS NULL OR pending_version IS NOT NULL),
    CHECK (current_version IS NOT NULL OR (pending_version IS NULL AND rotation_wanted_at IS NULL)),
    CHECK ((current_version IS NULL) = (revoked_at IS NOT NULL)),
    PRIMARY KEY (group_id, gateway_id),
    UNIQUE (group_id, wire_id),
    FOREIGN KEY (group_id, project_id, gateway_id)
        REFERENCES metering_gateway (group_id, project_id, id)
);
CREATE INDEX enrolment_ring_wire ON enrolment_ring (wire_id);
CALL isolate_tenant_table('enrolment_ring', 'SELECT, INSERT, UPDATE');

-- Root keys at rest, one row a version that is still good; retired and revoked ones are deleted.
CREATE TABLE enrolment_key (
    group_id bigint NOT NULL,
    gateway_id uuid NOT NULL,
    version integer NOT NULL CHECK (version BETWEEN 1 AND 65535),
    kek_version integer NOT NULL CHECK (kek_version BETWEEN 1 AND 65535),
    blob bytea NOT NULL CHECK (length(blob) = 40),
    made_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, gateway_id, version),
    FOREIGN KEY (group_id, gateway_id) REFERENCES enrolment_ring (group_id, gateway_id)
);
CALL isolate_tenant_table('enrolment_key', 'SELECT, INSERT, DELETE');

-- A box that says its claim or its wire id belongs to a group that nobody knows yet. These tell the
-- group and nothing else; and, for the watch over rings, in which groups something changed.
CREATE FUNCTION enrolment_group_of_claim(wanted bytea) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT group_id FROM enrolment_claim WHERE id = wanted';
CREATE FUNCTION enrolment_group_of_wire(wanted bytea) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT group_id FROM enrolment_ring WHERE wire_id = wanted';
CREATE FUNCTION enrolment_marks() RETURNS TABLE (of_group bigint, mark bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT group_id, sum(revision)::bigint FROM enrolment_ring GROUP BY group_id';
REVOKE ALL ON FUNCTION enrolment_group_of_claim(bytea), enrolment_group_of_wire(bytea),
    enrolment_marks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enrolment_group_of_claim(bytea), enrolment_group_of_wire(bytea),
    enrolment_marks() TO shuidian_app;
