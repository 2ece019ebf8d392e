"""Hostile input: 2,000 examples, each refused in a sentence or accepted with the right result."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.helpers.project import ROOT

EXAMPLES = 2000


def test_hostile_input_is_refused_in_a_sentence_or_accepted() -> None:
    """`python -m tests.fuzzing.suite` tries more examples."""
    command = [sys.executable, "-m", "tests.fuzzing.suite", "--examples", str(EXAMPLES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    counts = re.findall(r"([\d,]+) tried, ([\d,]+) refused, ([\d,]+) accepted", done.stdout)
    assert counts, done.stdout
    tried, refused, accepted = zip(*[map(int, row) for row in counts], strict=True)
    assert sum(tried) == EXAMPLES == sum(refused) + sum(accepted)
    assert min(refused) > 0
    assert min(accepted) > 0
