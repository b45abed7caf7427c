"""Tests of flashsale bench: the form of its report, its arithmetic, and a small run of each part on real servers."""
