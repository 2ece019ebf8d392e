"""Data sets: inspected, decoded to arrays on disk, split, and read as batches.

`dataset` and `user_images` work without torch, so that inspecting a folder of images stays quick.
"""
