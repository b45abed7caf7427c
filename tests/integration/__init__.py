"""The parts together: real servers, real processes, real HTTP."""
