-- 0016_charges: begun; what it holds is written with its room.
SELECT 1;
