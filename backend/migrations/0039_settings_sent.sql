-- What a meter was last sent of prices, thresholds and limits of load is asked for each minute; a meter that follows a
-- timetable has a thousand commands over its relay beside it by the end of a year.
CREATE INDEX control_command_settings ON control_command (meter_id, id DESC)
    WHERE family IN ('PRICES', 'THRESHOLDS', 'LOAD_LIMITS');
