"""Latency on this machine, measured in interleaved rounds, so that drift cancels out in ratios."""
