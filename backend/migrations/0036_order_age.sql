-- An order is asked for by its age; how often it was asked for, nobody needs to know.
ALTER TABLE topups_order DROP COLUMN queries;
