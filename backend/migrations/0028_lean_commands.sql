-- When a worker first took a command was written for each and read by nobody.
ALTER TABLE control_command DROP COLUMN started_at;
