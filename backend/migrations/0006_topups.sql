-- Orders, pay links, exception cases, messages to customers.

CREATE TABLE topups_link (
    group_id bigint NOT NULL,
    token_digest bytea NOT NULL CHECK (length(token_digest) = 32),
    account_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    amount_fen integer CHECK (amount_fen > 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, token_digest),
    FOREIGN KEY (group_id, account_id) REFERENCES accounts_account (group_id, id),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id)
);
CALL isolate_tenant_table('topups_link', 'SELECT, INSERT');

CREATE TABLE topups_order (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    order_no text NOT NULL CHECK (order_no ~ '^[0-9A-Za-z]{6,32}$'),
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    customer_id uuid,
    credential_id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('WECHAT_PAY')),
    method text NOT NULL CHECK (method IN ('JSAPI', 'H5', 'NATIVE')),
    payer_id text,
    amount_fen integer NOT NULL CHECK (amount_fen > 0),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 8 AND 255),
    state text NOT NULL CHECK (state IN ('CREATED', 'PAID', 'CLOSED')),
    page jsonb,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    queries integer NOT NULL DEFAULT 0,
    paid_at timestamptz,
    transaction_id text,
    closed_at timestamptz,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, order_no),
    UNIQUE (group_id, channel, transaction_id),
    UNIQUE (group_id, account_id, idempotency_key),
    UNIQUE (group_id, project_id, id),
    CHECK ((state = 'PAID') = (paid_at IS NOT NULL AND transaction_id IS NOT NULL)),
    FOREIGN KEY (group_id, project_id, account_id)
        REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id),
    FOREIGN KEY (group_id, credential_id) REFERENCES tenancy_credential (group_id, id)
);
CREATE INDEX topups_order_account ON topups_order (group_id, account_id, created_at DESC);
CREATE INDEX topups_order_project ON topups_order (group_id, project_id, created_at DESC);
CALL isolate_tenant_table('topups_order', 'SELECT, INSERT, UPDATE');

-- What a person must look at and decide; it can only be resolved with a note.
CREATE TABLE alerts_case (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    resolved_at timestamptz,
    resolved_by text,
    note text,
    PRIMARY KEY (group_id, id),
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL)),
    CHECK (resolved_at IS NULL OR length(note) >= 4),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CREATE UNIQUE INDEX alerts_case_open ON alerts_case (group_id, kind, subject)
    WHERE resolved_at IS NULL;
CREATE INDEX alerts_case_project ON alerts_case (group_id, project_id, opened_at DESC);
CALL isolate_tenant_table('alerts_case', 'SELECT, INSERT, UPDATE');

CREATE TABLE alerts_delivery (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('WECHAT', 'SMS')),
    event text NOT NULL,
    key text NOT NULL,
    customer_id uuid,
    state text NOT NULL CHECK (state IN ('QUEUED', 'SENT', 'REFUSED')),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    provider_id text,
    last_error text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, channel, key),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id)
);
CALL isolate_tenant_table('alerts_delivery', 'SELECT, INSERT, UPDATE');
