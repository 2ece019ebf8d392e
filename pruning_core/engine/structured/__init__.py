"""Structured pruning: dependency groups, channel importance, removal, and the dry run."""
