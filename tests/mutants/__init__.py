"""Mutants: every guard in the scripts and the SQL is taken away, one at a time, and a test has to notice.

`python -m tests.mutants` (make mutants) runs them; docs/PROOF.md says how they belong to the rest of the proof.
"""
