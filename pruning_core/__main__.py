"""`python -m pruning_core`."""

import io
import os
import sys

from pruning_core.cli.main import main

if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # for letters that a terminal cannot show
try:
    code = main()
except BrokenPipeError:
    # The reader of our output, such as `head`, has ended: do not write to it again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 1
sys.exit(code)
