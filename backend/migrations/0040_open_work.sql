-- What is open is found among what is open, however many years of what is over lie beside it (tests/integration/
-- test_grown.py).

-- A stopped vend is next in number as well.
DROP INDEX control_vend_waiting;
CREATE INDEX control_vend_waiting ON control_vend (group_id, meter_id, counter_epoch, purchase_no)
    WHERE state IN ('QUEUED', 'SENT', 'STOPPED');

CREATE INDEX topups_order_unpaid ON topups_order (group_id, account_id) WHERE state = 'CREATED';
CREATE INDEX topups_refund_waiting ON topups_refund (group_id) WHERE state IN ('APPROVED', 'SENT');
CREATE INDEX topups_refund_account ON topups_refund (group_id, account_id, id DESC);
CREATE INDEX metering_episode_running ON metering_episode (group_id, project_id, id DESC) WHERE ended_at IS NULL;

-- Pages of cases and of proofs go by their ids; of each meter a night writes a proof.
DROP INDEX alerts_case_project;
CREATE INDEX alerts_case_project ON alerts_case (group_id, project_id, id DESC);
DROP INDEX reconcile_proof_drift;
CREATE INDEX reconcile_proof_drift ON reconcile_proof (group_id, project_id, id DESC)
    WHERE verdict = 'DRIFT' AND resolved_at IS NULL;
