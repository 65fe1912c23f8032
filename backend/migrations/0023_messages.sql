-- Messages: news for one person and its tries channel by channel, receipts, templates, quiet hours, limits
-- against SMS bombing, and webhooks (A23, C27, C28).

-- `same_as`: the identity of another channel that is the same person's; one of several identities has none.
ALTER TABLE accounts_customer DROP CONSTRAINT accounts_customer_channel_check,
    ADD CONSTRAINT accounts_customer_channel_check CHECK (channel IN ('WECHAT', 'ALIPAY')),
    ADD COLUMN same_as uuid CHECK (same_as <> id),
    ADD CONSTRAINT accounts_customer_same_as FOREIGN KEY (group_id, same_as)
        REFERENCES accounts_customer (group_id, id);
GRANT UPDATE ON accounts_customer TO shuidian_app;

-- What is told to one person. `customer_id`: the person's first identity; NULL: nobody is bound, only the
-- registered phone can hear. `params`: the values of the sentence, no address and no code.
CREATE TABLE alerts_message (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    account_id uuid NOT NULL,
    customer_id uuid,
    event text NOT NULL,
    key text NOT NULL CHECK (length(key) > 9),
    params jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, key),
    FOREIGN KEY (group_id, project_id, account_id) REFERENCES accounts_account (group_id, project_id, id),
    FOREIGN KEY (group_id, customer_id) REFERENCES accounts_customer (group_id, id)
);
CREATE INDEX alerts_message_account ON alerts_message (group_id, account_id, id DESC);
CALL isolate_tenant_table('alerts_message', 'SELECT, INSERT');

-- A try at one channel. LIMITED: our limits or the provider's forbid it; FAILED: the provider took it and
-- told later that it did not arrive. `address_digest`: keyed, of a phone number, to count by.
ALTER TABLE alerts_delivery DROP CONSTRAINT alerts_delivery_channel_check,
    DROP CONSTRAINT alerts_delivery_state_check,
    ADD CONSTRAINT alerts_delivery_channel_check CHECK (channel IN ('WECHAT', 'ALIPAY', 'SMS')),
    ADD CONSTRAINT alerts_delivery_state_check
        CHECK (state IN ('QUEUED', 'SENT', 'REFUSED', 'LIMITED', 'FAILED')),
    ADD COLUMN message_id uuid,
    ADD COLUMN held_until timestamptz,
    ADD COLUMN tried_at timestamptz,
    ADD COLUMN arrived_at timestamptz,
    ADD COLUMN address_digest bytea CHECK (length(address_digest) = 32),
    ADD CONSTRAINT alerts_delivery_message FOREIGN KEY (group_id, message_id)
        REFERENCES alerts_message (group_id, id),
    ADD CONSTRAINT alerts_delivery_arrived CHECK (arrived_at IS NULL OR state = 'SENT');
CREATE INDEX alerts_delivery_of_message ON alerts_delivery (group_id, message_id);
CREATE INDEX alerts_delivery_sms ON alerts_delivery (group_id, tried_at) WHERE channel = 'SMS';
CREATE INDEX alerts_delivery_provider ON alerts_delivery (group_id, channel, provider_id)
    WHERE provider_id IS NOT NULL;

-- `app_id`: the official account that owns a WeChat template, '' at other channels. `fields`: the template's
-- own names, each with the value of the sentence that goes there.
CREATE TABLE alerts_template (
    group_id bigint NOT NULL REFERENCES tenancy_group,
    event text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('WECHAT', 'ALIPAY', 'SMS')),
    app_id text NOT NULL,
    template_id text NOT NULL CHECK (template_id <> ''),
    sign_name text NOT NULL,
    url text NOT NULL,
    fields jsonb NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, event, channel, app_id),
    CHECK ((channel = 'WECHAT') = (app_id <> '')),
    CHECK ((channel = 'SMS') = (sign_name <> ''))
);
CALL isolate_tenant_table('alerts_template', 'SELECT, INSERT, UPDATE, DELETE');

-- A group without a row has the defaults of backend/alerts/message_rules.py. Minutes of the day in China.
CREATE TABLE alerts_message_terms (
    group_id bigint PRIMARY KEY REFERENCES tenancy_group,
    quiet_from smallint NOT NULL CHECK (quiet_from BETWEEN 0 AND 1439),
    quiet_until smallint NOT NULL CHECK (quiet_until BETWEEN 0 AND 1439),
    number_hour integer NOT NULL CHECK (number_hour > 0),
    number_day integer NOT NULL CHECK (number_day > 0),
    event_day integer NOT NULL CHECK (event_day > 0),
    group_day integer NOT NULL CHECK (group_day > 0),
    set_by text NOT NULL,
    set_at timestamptz NOT NULL
);
CALL isolate_tenant_table('alerts_message_terms', 'SELECT, INSERT, UPDATE');

-- Where a project's own system hears the same news; the secret that signs them is sealed.
CREATE TABLE alerts_webhook (
    group_id bigint NOT NULL,
    project_id uuid NOT NULL,
    url text NOT NULL CHECK (url <> ''),
    sealed bytea NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    taken_at timestamptz,
    last_error text,
    PRIMARY KEY (group_id, project_id),
    FOREIGN KEY (group_id, project_id) REFERENCES tenancy_project (group_id, id)
);
CALL isolate_tenant_table('alerts_webhook', 'SELECT, INSERT, UPDATE, DELETE');
