"""Masks: the pruning unit, the choice of what is removed, and the masks in training."""
