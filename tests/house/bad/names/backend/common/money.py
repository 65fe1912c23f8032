"""Everything, in a folder."""  # BAD
