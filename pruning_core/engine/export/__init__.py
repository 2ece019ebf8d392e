"""Files of a finished model: written, read back, run, and measured on the test images."""
