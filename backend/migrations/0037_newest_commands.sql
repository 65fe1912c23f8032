-- The newest commands of a meter are found by the meter alone, which is of one group. As the second column behind
-- the group it was skipped over: while there are no statistics this index was taken for lists of ids as well, in
-- place of their key, and each step of a batch went through all commands that its group ever had.
DROP INDEX control_command_newest;
CREATE INDEX control_command_newest ON control_command (meter_id, id DESC);
