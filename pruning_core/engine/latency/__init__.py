"""Latency on this machine, measured with interleaved rounds so that ratios can be trusted."""
