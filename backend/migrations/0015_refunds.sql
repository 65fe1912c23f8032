-- 0015_refunds: begun; what it holds is written with its room.
SELECT 1;
