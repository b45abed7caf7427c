"""A flash-sale engine: fans reserve, everybody presses buy at noon, nothing is sold twice and nothing is lost."""

__version__ = "0.1.0"
