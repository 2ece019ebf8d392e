"""The worker of a cache: its supervisor, and the processes that run stages."""
