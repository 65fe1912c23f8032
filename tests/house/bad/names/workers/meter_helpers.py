"""Everything about meters."""  # BAD
