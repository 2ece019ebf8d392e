"""Pruning criteria: importance scores of weights. The lowest scores are pruned first."""
