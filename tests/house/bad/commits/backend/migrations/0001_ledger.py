"""A trigger body has its own BEGIN: not a transaction."""

SQL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'append only';
END $$;
"""
