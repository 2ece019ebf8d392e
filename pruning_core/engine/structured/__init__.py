"""Structured pruning: dependency groups, channel importance, removal of channels, dry run."""
