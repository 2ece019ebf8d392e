"""Training and evaluation of a model: loop, step, loss, optimizers, checkpoints, rewinding."""
