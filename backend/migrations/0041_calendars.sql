-- When which rate band holds in a meter: ordered like its prices, and wanted with them (A14, C17;
-- backend/kernel/band_calendar.py, backend/control/prices.py).
ALTER TABLE control_command
    DROP CONSTRAINT control_command_kind_check,
    DROP CONSTRAINT control_command_family_check,
    ADD CONSTRAINT control_command_kind_check CHECK (kind IN (
        'TRIP', 'ALLOW_CLOSE', 'CLOSE', 'KEEP_POWER', 'RELEASE', 'SYNC_CLOCK', 'PRICES', 'CALENDAR', 'THRESHOLDS',
        'LOAD_LIMITS')),
    ADD CONSTRAINT control_command_family_check CHECK (family IN (
        'RELAY', 'CLOCK', 'PRICES', 'CALENDAR', 'THRESHOLDS', 'LOAD_LIMITS'));
ALTER TABLE control_batch
    DROP CONSTRAINT control_batch_kind_check,
    ADD CONSTRAINT control_batch_kind_check CHECK (kind IN (
        'TRIP', 'ALLOW_CLOSE', 'CLOSE', 'KEEP_POWER', 'RELEASE', 'SYNC_CLOCK', 'PRICES', 'CALENDAR', 'THRESHOLDS'));
DROP INDEX control_command_settings;
CREATE INDEX control_command_settings ON control_command (meter_id, id DESC)
    WHERE family IN ('PRICES', 'CALENDAR', 'THRESHOLDS', 'LOAD_LIMITS');

-- An empty calendar is wanted where a tariff tells no hours: then the meter's own will do.
ALTER TABLE control_meter_prices
    ADD COLUMN desired_calendar jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN actual_calendar jsonb,
    ADD COLUMN actual_calendar_at timestamptz,
    ADD CHECK (num_nulls(actual_calendar, actual_calendar_at) IN (0, 2));
