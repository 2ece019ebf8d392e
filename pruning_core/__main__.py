"""`python -m pruning_core`."""

import io
import os
import sys

from pruning_core.cli.main import main

if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a letter
try:
    code = main()
except BrokenPipeError:
    # Who read our output, such as `head`, has gone: nothing more can be said there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 1
sys.exit(code)
