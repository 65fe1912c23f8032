-- Cuts for arrears and their end: whose money is used up, and since when a relay may be what the cloud made
-- of it (C19-C22).

-- `owing`: its account's purse stands in arrears, so it is looked at until that is over. `force_at`: when the
-- write of `force` was announced; what was read before that says nothing of the relay.
ALTER TABLE control_supply
    ADD COLUMN owing boolean NOT NULL DEFAULT false,
    ADD COLUMN force_at timestamptz;
DROP INDEX control_supply_wanted;
CREATE INDEX control_supply_wanted ON control_supply (group_id, meter_id)
    WHERE policy <> 'AUTO' OR protected_at IS NOT NULL OR emergency_at IS NOT NULL OR force IS NOT NULL
        OR owing OR safety IS NOT NULL OR timetable_id IS NOT NULL;
CREATE INDEX ledger_account_arrears ON ledger_account (group_id, id)
    WHERE kind IN (
        'ENERGY_ARREARS', 'FIXED_FEE_ARREARS', 'LOSS_ARREARS', 'PUBLIC_ARREARS', 'SERVICE_ARREARS');

-- How many trips the engine gave over all groups, and how many meters there are: it tells no content.
CREATE INDEX control_command_trips_at ON control_command (issued_at) WHERE kind = 'TRIP';
CREATE FUNCTION control_trips_of_platform(giver text, since timestamptz, OUT trips bigint, OUT meters bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    AS 'SELECT (SELECT count(*) FROM control_command
                 WHERE kind = ''TRIP'' AND issued_at >= since AND requested_by = giver),
               (SELECT count(*) FROM metering_meter WHERE removed_at IS NULL)';
REVOKE ALL ON FUNCTION control_trips_of_platform(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control_trips_of_platform(text, timestamptz) TO shuidian_app;
