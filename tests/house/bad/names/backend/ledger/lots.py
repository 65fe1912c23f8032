"""Named by its work: lots of money, and how use consumes them."""
