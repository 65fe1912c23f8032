"""Who did what, from where, before and after: append-only and hash-chained per group (C30)."""
