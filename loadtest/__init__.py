"""The load kit: release days replayed against the real HTTP API, and their verdict."""
