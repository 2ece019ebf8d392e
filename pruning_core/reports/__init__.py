"""Rows as charts and files."""
