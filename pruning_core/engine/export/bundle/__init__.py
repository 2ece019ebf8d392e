"""A reproducibility bundle: a model with everything that proves what is said of it, in one zip."""
