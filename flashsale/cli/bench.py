def bench() -> None:
    """Later today."""
