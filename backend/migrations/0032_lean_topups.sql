-- What a top-up writes, and nothing that nobody reads.

-- Each entry locked the row of its project, which all who post share. It need not: an entry has postings
-- (ledger_entry_has_postings), postings are on accounts of the entry's project (ledger_postings_arrive), and
-- an account's project is there by its key. To the wider key nothing points since postings are checked once a
-- statement (0014_ledger.sql).
ALTER TABLE ledger_entry
    DROP CONSTRAINT ledger_entry_group_id_project_id_fkey,
    DROP CONSTRAINT ledger_entry_group_id_project_id_id_key;

-- Orders go by their ids, which rise with time: nobody asks for them by when they were made. Those of an
-- account or a project are found by its keys.
DROP INDEX topups_order_account, topups_order_project;
