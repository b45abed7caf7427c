def rehearse() -> None:
    """Later today."""
