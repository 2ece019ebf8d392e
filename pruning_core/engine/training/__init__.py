"""Training and evaluation of a model: the loop, the step, the loss, checkpoints, rewinding."""
