"""Everything."""  # BAD
