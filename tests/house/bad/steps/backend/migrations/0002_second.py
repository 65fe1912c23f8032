"""A step."""


class Migration:
    """0002_second."""

    dependencies: list[tuple[str, str]] = [("models", "0001_first")]
