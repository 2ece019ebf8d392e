"""Pruning criteria: how much each weight matters. The lowest scores are removed first."""
