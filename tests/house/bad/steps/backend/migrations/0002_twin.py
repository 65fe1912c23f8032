"""A step."""


class Migration:
    """0002_twin."""

    dependencies: list[tuple[str, str]] = [("models", "0001_first")]  # BAD
    operations = [sql("0001_first.sql")]
