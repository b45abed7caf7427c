"""Tests of the scripts: their contract without a server, their promises on a real one."""
