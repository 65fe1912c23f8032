"""Proof by breaking: `shuidian chaos` on the real system, `shuidian simulate` on a virtual clock."""
