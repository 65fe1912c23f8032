-- 0027_control: to be filled.
SELECT 1;
