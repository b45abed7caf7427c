"""Tests of the callers over the two stores: purchase, reservation, ledger, schema, opening."""
