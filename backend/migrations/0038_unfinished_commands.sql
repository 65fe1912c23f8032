-- A command is unfinished while it has no end: by `finished_at` this index is as it was by `state` (a check of the
-- table holds that they agree), and a write that leaves, which moves the state, moves no entry of any index.
DROP INDEX control_command_unfinished;
CREATE UNIQUE INDEX control_command_unfinished ON control_command (group_id, meter_id, family)
    WHERE finished_at IS NULL;
