"""Plans a fleet: what a sale of this size needs, by what each operation cost on a machine that was measured.

calibration: the costs; mix: who asks for what in the peak second; fleet: the arithmetic; opening: the first seconds,
played through; planned: all of it; certify: the same prediction for this machine, and what it then does.
"""
