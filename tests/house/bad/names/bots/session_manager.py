"""Everything about sessions."""  # BAD
