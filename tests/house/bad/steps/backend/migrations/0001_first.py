"""A step."""


class Migration:
    """0001_first."""

    dependencies: list[tuple[str, str]] = []
    operations = [sql("0001_first.sql")]
