"""The cache on disk: finished stages, the queue, jobs, and cleaning."""
