"""A run as stages: which work it takes, in which order, and how long it will take."""
