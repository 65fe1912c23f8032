-- The next of a batch are found by their turn, the nth of each gateway before the n+1st of any, so that a round
-- reads as many rows as it may ask and not the whole batch.
ALTER TABLE control_batch_item ADD COLUMN turn integer CHECK (turn > 0);
DO $$
DECLARE
    of_group bigint;
BEGIN
    -- The owner too sees one group's rows at a time.
    FOR of_group IN SELECT group_id FROM tenancy_directory LOOP
        PERFORM set_config('app.group_id', of_group::text, true);
        UPDATE control_batch_item i SET turn = n.turn FROM (
            SELECT group_id, batch_id, no, row_number() OVER (
                PARTITION BY batch_id, gateway_id, state = 'LEFT_OUT' ORDER BY no) AS turn
            FROM control_batch_item) n
        WHERE i.group_id = n.group_id AND i.batch_id = n.batch_id AND i.no = n.no;
    END LOOP;
    PERFORM set_config('app.group_id', '', true);
END $$;
ALTER TABLE control_batch_item ALTER COLUMN turn SET NOT NULL;
DROP INDEX control_batch_item_left;
DROP INDEX control_batch_item_flight;
CREATE INDEX control_batch_item_next ON control_batch_item (group_id, batch_id, turn, no)
    WHERE state = 'READY';
CREATE INDEX control_batch_item_flight ON control_batch_item (group_id)
    WHERE state = 'ASKED';

-- Of a batch so new that no statistics know it the planner takes one index for as good as the other, and reads all
-- of it for two hundred of its numbers. Who adds thousands of rows has them counted.
CREATE FUNCTION control_count_items() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$ BEGIN ANALYZE control_batch_item; END $$;
REVOKE ALL ON FUNCTION control_count_items() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control_count_items() TO shuidian_app;
