-- Charging at speed. An index of all positions by meter was taken for the key by a plan made while there were
-- few: each charge then read all positions of its group (3 ms instead of 5 us). Those that wait for a person
-- are the only ones that are looked for by meter.
DROP INDEX charges_position_meter;
CREATE INDEX charges_position_negative ON charges_position (group_id, meter_id) WHERE hold = 'NEGATIVE';
