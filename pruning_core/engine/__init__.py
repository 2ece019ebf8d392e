"""Everything with torch. `worker/execute.py` is the only way in."""
