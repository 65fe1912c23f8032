__all__: list[str] = []  # BAD
