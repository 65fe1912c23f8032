-- 0017_reconcile: begun; what it holds is written with its room.
SELECT 1;
