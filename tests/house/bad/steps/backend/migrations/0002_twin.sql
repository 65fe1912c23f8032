-- BAD: its step runs another.
SELECT 1;
