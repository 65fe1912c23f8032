"""Top-ups: the order from created to paid to credited, refunds, channel bills."""
