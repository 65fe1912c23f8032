-- What may be taken is found among what nobody has: the claim of one command, and each look for what is due, went
-- through all five hundred sweeps that were under way.
ALTER TABLE outbox_event
    ADD COLUMN ready_at timestamptz NOT NULL GENERATED ALWAYS AS (greatest(due_at, leased_until)) STORED;
DROP INDEX outbox_event_due;
CREATE INDEX outbox_event_ready ON outbox_event (group_id, ready_at) WHERE done_at IS NULL;

CREATE OR REPLACE FUNCTION outbox_groups_due(at timestamptz) RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT DISTINCT group_id FROM outbox_event WHERE done_at IS NULL AND ready_at <= at';
CREATE OR REPLACE FUNCTION outbox_oldest_due(at timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT min(due_at) FROM outbox_event WHERE done_at IS NULL AND ready_at <= at';
CREATE OR REPLACE FUNCTION outbox_next_due(after timestamptz, until timestamptz, of_topics text[]) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT min(ready_at) FROM outbox_event
        WHERE done_at IS NULL AND ready_at > after AND ready_at <= until AND topic = ANY(of_topics)';
