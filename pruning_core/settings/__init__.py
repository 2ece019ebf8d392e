"""The settings of a run: dataclasses whose fields describe themselves, and their checks."""
