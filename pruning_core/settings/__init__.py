"""What a run is asked to do: dataclasses whose fields describe themselves, and their checks."""
