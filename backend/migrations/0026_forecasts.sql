-- 0026_forecasts: to be filled.
SELECT 1;
