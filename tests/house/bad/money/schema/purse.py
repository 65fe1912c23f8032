"""Money shown as a float."""


class Purse:
    """A balance."""

    balance: float  # BAD
