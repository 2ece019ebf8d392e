"""Give the project hostile input, and count what is refused and what is accepted.

    python -m tests.fuzzing.suite --examples 50000

An example is refused in one sentence, or accepted, and then the result must be right (see the
`attempt` of each kind). Anything else is a fault: another exception, a file written outside the
folder, a program started, a connection opened, more than 2 GiB of memory, more than a minute.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from pruning_core.common.terminal import one_line
from tests.fuzzing.bundles import BUNDLES
from tests.fuzzing.checkpoints import CHECKPOINTS
from tests.fuzzing.guard import Guard, limit_memory
from tests.fuzzing.images import IMAGES
from tests.fuzzing.kinds import InputKind
from tests.fuzzing.sparse_files import SPARSE_FILES
from tests.fuzzing.specs import SPECS
from tests.helpers.project import suite_parser

KINDS = (SPECS, CHECKPOINTS, IMAGES, SPARSE_FILES, BUNDLES)
LONGEST_SENTENCE = 1600


def check_sentence(text: str) -> None:
    """A refusal is one line that ends as a sentence does, without the words of a traceback."""
    assert text.endswith((".", "?")), text
    assert len(text) < LONGEST_SENTENCE, text
    assert one_line(text) == text, repr(text)
    assert "Traceback" not in text, text
    assert " object at 0x" not in text, text


def try_kind(kind: InputKind, guard: Guard, count: int, number: int) -> Counter[str]:
    """Try `count` examples. Returns how many were tried, refused and accepted."""
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.examples)
    def run(example: Any) -> None:
        folder = Path(tempfile.mkdtemp(dir=guard.folder))
        try:
            with guard.watching():
                refusal = kind.attempt(example, folder)
        finally:
            shutil.rmtree(folder)
        if refusal is not None:
            check_sentence(refusal)
        counts.update(("tried", "accepted" if refusal is None else "refused"))

    run()
    return counts


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = suite_parser("tests.fuzzing.suite", __doc__)
    options.add_argument("--examples", type=int, default=50_000, help="examples of all kinds")
    options.add_argument("--seed", type=int, default=0, help="seed of the examples")
    options.add_argument("--only", choices=[kind.name for kind in KINDS], help="one kind of input")
    return options


def main() -> int:
    """Run the suite. An example that is neither refused nor accepted is shown, and ends it."""
    options = parser().parse_args()
    chosen = [kind for kind in KINDS if options.only in (None, kind.name)]
    total = sum(kind.share for kind in chosen)
    with tempfile.TemporaryDirectory() as folder:
        guard = Guard(Path(folder))
        for kind in chosen:
            kind.prepare()
        limit_memory()  # of the attempts, not of what they need
        for kind in chosen:
            count = round(options.examples * kind.share / total)
            counts = try_kind(kind, guard, count, options.seed)
            print(
                f"{kind.name}: {counts['tried']} tried, {counts['refused']} refused, "
                f"{counts['accepted']} accepted.",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
