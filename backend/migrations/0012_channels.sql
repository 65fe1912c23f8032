-- 0012_channels: begun; what it holds is written with its room.
SELECT 1;
