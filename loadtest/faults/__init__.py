"""Faults that a rehearsal injects: one file a kind, all of them by name in the catalogue."""
