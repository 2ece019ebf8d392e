"""Channels really removed: what a model's widths are, how they are cut, and their dry run."""
