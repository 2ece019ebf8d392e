"""Training-free correction: recovering accuracy after pruning without training."""
