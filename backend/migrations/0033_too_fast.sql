-- A reading that gained more than a meter of its kind can measure is held like one that went back, and is
-- ruled on by a person: left out, counted anew from, or counted.
ALTER TABLE charges_position DROP CONSTRAINT charges_position_hold_check,
    ADD CONSTRAINT charges_position_hold_check CHECK (hold IN ('NEGATIVE', 'TOO_FAST', 'NO_TARIFF'));
ALTER TABLE charges_ruling DROP CONSTRAINT charges_ruling_ruling_check,
    ADD CONSTRAINT charges_ruling_ruling_check CHECK (ruling IN ('IGNORE', 'REBASE', 'COUNT'));
DROP INDEX charges_position_negative;
CREATE INDEX charges_position_waits ON charges_position (group_id, meter_id) WHERE hold <> 'NO_TARIFF';
