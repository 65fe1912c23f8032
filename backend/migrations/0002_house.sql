-- Outbox, inbox and audit: the durable memory between rooms and the outside.

CREATE TABLE outbox_event (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    topic text NOT NULL CHECK (topic ~ '^[a-z_]+\.[a-z_]+$'),
    key text NOT NULL CHECK (key <> ''),
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    leased_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    done_at timestamptz,
    last_error text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, topic, key)
);
CREATE INDEX outbox_event_due ON outbox_event (group_id, due_at) WHERE done_at IS NULL;
CALL isolate_tenant_table('outbox_event', 'SELECT, INSERT, UPDATE, DELETE');

-- Groups with work due: the one question the relay may ask across groups. It tells no content.
CREATE FUNCTION outbox_groups_due(at timestamptz) RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT DISTINCT group_id FROM outbox_event
        WHERE done_at IS NULL AND due_at <= at AND (leased_until IS NULL OR leased_until <= at)';
CREATE FUNCTION outbox_oldest_due(at timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT min(due_at) FROM outbox_event WHERE done_at IS NULL AND due_at <= at';
REVOKE ALL ON FUNCTION outbox_groups_due(timestamptz), outbox_oldest_due(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox_groups_due(timestamptz), outbox_oldest_due(timestamptz)
    TO shuidian_app;

CREATE TABLE outbox_inbox (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    channel text NOT NULL,
    key text NOT NULL CHECK (key <> ''),
    body jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    handled_at timestamptz,
    outcome text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, channel, key)
);
CALL isolate_tenant_table('outbox_inbox', 'SELECT, INSERT, UPDATE');

-- Append-only and hash-chained per group: a changed, removed or inserted row breaks the chain.
CREATE TABLE audit_entry (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    seq bigint NOT NULL CHECK (seq > 0),
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id text NOT NULL,
    actor_name text NOT NULL,
    address text NOT NULL,
    action text NOT NULL CHECK (action ~ '^[a-z_]+:[a-z_]+:[a-z_]+$'),
    project_id uuid,
    subject text NOT NULL,
    before jsonb,
    after jsonb,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (group_id, seq),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('audit_entry', 'SELECT, INSERT');
