-- When the next event of some topics becomes due: whoever hands events on begins it at its time, and not when
-- he happens to look again.
CREATE FUNCTION outbox_next_due(after timestamptz, until timestamptz, of_topics text[]) RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT min(due_at) FROM outbox_event
        WHERE done_at IS NULL AND due_at > after AND due_at <= until AND topic = ANY(of_topics)';
REVOKE ALL ON FUNCTION outbox_next_due(timestamptz, timestamptz, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox_next_due(timestamptz, timestamptz, text[]) TO shuidian_app;
