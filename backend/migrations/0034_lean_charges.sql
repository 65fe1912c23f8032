-- Charging at speed, once more.

-- Accounts of the book are asked for by what they belong to, with or without a project or a kind: the key that
-- tells them apart begins with it. It began as the key of their ids does; while there are no statistics it was
-- taken instead of that, and each new balance went through all accounts of its project to find its own.
ALTER TABLE ledger_account
    DROP CONSTRAINT ledger_account_group_id_project_id_kind_ref_key,
    ADD UNIQUE (group_id, ref, kind, project_id);

-- Few share another's purse: who does is told without a look at each account of a batch.
CREATE INDEX accounts_account_sharing ON accounts_account (group_id, id) WHERE purse_account_id IS NOT NULL;
