def demo() -> None:
    """Later today."""
