-- Places, accounts (户), customers and how they are bound to accounts.

CREATE TABLE accounts_area (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    parent_id uuid,
    name text NOT NULL CHECK (name <> ''),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, project_id, id),
    UNIQUE NULLS NOT DISTINCT (group_id, project_id, parent_id, name),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, parent_id) REFERENCES accounts_area (group_id, project_id, id)
);
CALL isolate_tenant_table('accounts_area', 'SELECT, INSERT, UPDATE');

CREATE TABLE accounts_account (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    area_id uuid NOT NULL,
    no text NOT NULL CHECK (no ~ '^[0-9]{6,12}$'),
    name text NOT NULL CHECK (name <> ''),
    phone text NOT NULL CHECK (phone ~ '^1[3-9][0-9]{9}$'),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz CHECK (closed_at >= opened_at),
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, no),
    UNIQUE (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id),
    FOREIGN KEY (group_id, project_id, area_id) REFERENCES accounts_area (group_id, project_id, id)
);
CALL isolate_tenant_table('accounts_account', 'SELECT, INSERT, UPDATE');

CREATE TABLE accounts_customer (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('WECHAT')),
    app_id text NOT NULL,
    external_id text NOT NULL CHECK (external_id <> ''),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, channel, app_id, external_id)
);
CALL isolate_tenant_table('accounts_customer', 'SELECT, INSERT');

CREATE TABLE accounts_binding (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    account_id uuid NOT NULL,
    bound_at timestamptz NOT NULL,
    ended_at timestamptz CHECK (ended_at >= bound_at),
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id),
    FOREIGN KEY (group_id, account_id) REFERENCES accounts_account (group_id, id)
);
CREATE UNIQUE INDEX accounts_binding_live ON accounts_binding (group_id, customer_id, account_id)
    WHERE ended_at IS NULL;
CREATE INDEX accounts_binding_account ON accounts_binding (group_id, account_id)
    WHERE ended_at IS NULL;
CALL isolate_tenant_table('accounts_binding', 'SELECT, INSERT, UPDATE');

-- A code on its way to the registered phone. account_id is NULL when no account had the number: the
-- caller is told the same either way, and both count against the limits (no enumeration).
CREATE TABLE accounts_challenge (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    account_no text NOT NULL,
    account_id uuid,
    code_digest bytea NOT NULL CHECK (length(code_digest) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    tries smallint NOT NULL DEFAULT 0,
    used_at timestamptz,
    PRIMARY KEY (group_id, id),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id),
    FOREIGN KEY (group_id, account_id) REFERENCES accounts_account (group_id, id)
);
CREATE INDEX accounts_challenge_recent ON accounts_challenge (group_id, account_no, created_at);
CREATE INDEX accounts_challenge_customer ON accounts_challenge (group_id, customer_id, created_at);
CALL isolate_tenant_table('accounts_challenge', 'SELECT, INSERT, UPDATE');
