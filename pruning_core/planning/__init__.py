"""A run as a graph of stages, and an estimate of its time."""
