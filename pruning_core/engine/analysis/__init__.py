"""Inspections and analyses of data sets and models that train nothing."""
