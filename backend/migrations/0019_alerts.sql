-- A CHECK that comes to NULL is kept: a note that is missing must be told from one that is long enough.
ALTER TABLE alerts_case DROP CONSTRAINT alerts_case_check1,
    ADD CONSTRAINT alerts_case_note
        CHECK (resolved_at IS NULL OR coalesce(length(note), 0) >= 4);
ALTER TABLE metering_takedown DROP CONSTRAINT metering_takedown_check5,
    ADD CONSTRAINT metering_takedown_note CHECK (final_by IS DISTINCT FROM 'TYPED'
        OR (typed_by IS NOT NULL AND coalesce(length(note), 0) >= 4));

-- After so many days without a reading a CLOUD meter is charged provisionally (C15); 0: only when asked.
-- Seven: as many as an estimate looks back.
ALTER TABLE tenancy_project ADD COLUMN estimate_after_days smallint NOT NULL DEFAULT 7
    CHECK (estimate_after_days BETWEEN 0 AND 31);
