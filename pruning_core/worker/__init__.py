"""The worker: a supervisor, and a process for each stage that runs."""
