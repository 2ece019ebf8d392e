"""A finished model as a file: written, read back, run, and measured on the test images."""
