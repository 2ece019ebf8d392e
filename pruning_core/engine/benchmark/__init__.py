"""Benchmark of this machine: the same work done in two ways, interleaved, as paired ratios."""
