"""Models: how they are built, loaded and counted, and what their layers are."""
