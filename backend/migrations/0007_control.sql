-- Vends (下发): the credit command of a top-up to a METER-mode meter, numbered by purchase count (C8-C10).

CREATE TABLE control_vend (
    group_id bigint NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    meter_id uuid NOT NULL,
    assignment_id uuid NOT NULL,
    counter_epoch integer NOT NULL,
    purchase_no integer NOT NULL CHECK (purchase_no > 0),
    amount_fen integer NOT NULL CHECK (amount_fen > 0),
    source text NOT NULL CHECK (source IN ('TOPUP')),
    source_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'SENT', 'VERIFIED', 'STOPPED')),
    created_at timestamptz NOT NULL,
    sent_at timestamptz,
    verified_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    before_purchase_no integer,
    before_remaining_hao bigint,
    after_purchase_no integer,
    after_remaining_hao bigint,
    relay_after smallint CHECK (relay_after IN (0, 1)),
    last_error text,
    PRIMARY KEY (group_id, id),
    UNIQUE (group_id, meter_id, counter_epoch, purchase_no),
    UNIQUE (group_id, source, source_id),
    FOREIGN KEY (group_id, project_id, meter_id) REFERENCES metering_meter (group_id, project_id, id),
    FOREIGN KEY (group_id, project_id, assignment_id)
        REFERENCES metering_assignment (group_id, project_id, id)
);
-- One vend in flight per meter (C9).
CREATE UNIQUE INDEX control_vend_in_flight ON control_vend (group_id, meter_id) WHERE state = 'SENT';
CREATE INDEX control_vend_waiting ON control_vend (group_id, meter_id, purchase_no)
    WHERE state IN ('QUEUED', 'SENT');
CALL isolate_tenant_table('control_vend', 'SELECT, INSERT, UPDATE');
