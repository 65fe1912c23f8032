-- 0025_timetables: to be filled.
SELECT 1;
