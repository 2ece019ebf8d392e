"""This machine, measured: the same work done in two ways, in turn, as ratios."""
