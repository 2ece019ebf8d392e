"""The reproducibility bundle: a zip of an exported model with all that is needed to verify it."""
