"""This machine, measured: the same work done in two ways, interleaved, as ratios."""
