-- 0014_ledger: begun; what it holds is written with its room.
SELECT 1;
