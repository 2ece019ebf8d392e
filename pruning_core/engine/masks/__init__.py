"""Masks: pruning units, the selection of weights to prune, and zeros that stay in training."""
