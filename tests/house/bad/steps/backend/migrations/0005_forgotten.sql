-- BAD: no step beside it.
SELECT 1;
