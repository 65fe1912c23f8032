"""A step."""


class Migration:
    """0001_first."""

    dependencies: list[tuple[str, str]] = []
