"""Inspections and analyses of data sets and models, without training."""
