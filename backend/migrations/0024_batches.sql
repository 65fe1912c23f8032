-- 0024_batches: to be filled.
SELECT 1;
