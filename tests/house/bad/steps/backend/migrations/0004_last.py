"""A step."""


class Migration:
    """0004_last."""

    dependencies: list[tuple[str, str]] = [("models", "0002_second")]  # BAD
