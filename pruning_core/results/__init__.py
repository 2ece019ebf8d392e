"""Finished stages as rows and sentences."""
