"""Not a room of money: a share of lost meters may be a float."""


def lost_share(lost: int, all_meters: int) -> float:
    """From 0.0 to 1.0."""
    return lost / all_meters
