-- 0023_messages: to be filled.
SELECT 1;
