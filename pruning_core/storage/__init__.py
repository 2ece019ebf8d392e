"""The queue: SQLite rows of stages, of the jobs that want them, and of the worker."""
