-- 0022_alarms: to be filled.
SELECT 1;
