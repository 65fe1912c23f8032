-- 0018_occupancy: begun; what it holds is written with its room.
SELECT 1;
