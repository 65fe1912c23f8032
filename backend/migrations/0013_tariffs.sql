-- 0013_tariffs: begun; what it holds is written with its room.
SELECT 1;
