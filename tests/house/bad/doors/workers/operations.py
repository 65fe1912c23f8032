"""Not a room's door."""


def run(job: object, at: object) -> None:
    """Anything."""
