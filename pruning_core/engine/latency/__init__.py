"""How long things take on this machine, timed in turn so that their ratio can be trusted."""
