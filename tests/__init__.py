"""The tests, on real servers. `python -m pytest tests` runs all of them; tests/conftest.py says on which servers."""
