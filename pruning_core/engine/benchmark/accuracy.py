"""Whether speed is paid for with accuracy: the protocol's points, ours beside the reference's.

`python -m pruning_core.engine.benchmark.accuracy --data PATH --train-size 5000 --test-size 1000
--seeds 0,1,2` runs both sides and prints a table and the 95 % interval (Student's t) of the mean
difference over all pairs of points. Pairs of one seed share a baseline, so the interval over the
seeds' own means is given too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy import stats

from pruning_core.common.files import place
from pruning_core.engine.benchmark.comparison import ComparisonRunner, Images, our_spec
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.benchmark.runs import decoded, reference_process

# The assignment's own epochs: two after each one-shot cut, one after each iterative one.
PROTOCOL = Protocol(baseline_epochs=5, one_shot_epochs=2, epochs=1)


@dataclass(frozen=True)
class AccuracyPair:
    """A point's test accuracies, as fractions."""

    seed: int
    name: str
    ours: float
    reference: float

    @property
    def difference(self) -> float:
        return self.ours - self.reference


def pairs(seed: int, own: dict[str, float], other: dict[str, float]) -> list[AccuracyPair]:
    """The points of one seed."""
    return [AccuracyPair(seed, name, own[name], other[name]) for name in other]


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """The mean of at least two differences, and the ends of its 95 % interval."""
    mean, error = statistics.mean(differences), stats.sem(differences)
    reach = float(stats.t.ppf(0.975, len(differences) - 1) * error)
    return mean, mean - reach, mean + reach


def table(found: Sequence[AccuracyPair]) -> str:
    """The means over the seeds, a line a point, and the intervals, in Markdown."""
    lines = ["| point | ours | reference | difference |", "|---|---|---|---|"]
    for name in dict.fromkeys(pair.name for pair in found):
        rows = [pair for pair in found if pair.name == name]
        own = statistics.mean(pair.ours for pair in rows)
        other = statistics.mean(pair.reference for pair in rows)
        lines.append(f"| {name} | {own:.1%} | {other:.1%} | {100 * (own - other):+.1f} |")
    seeds = list(dict.fromkeys(pair.seed for pair in found))
    means = [statistics.mean(p.difference for p in found if p.seed == seed) for seed in seeds]
    for title, values in (("points", [p.difference for p in found]), ("seeds", means)):
        if len(values) > 1:
            mean, low, high = (100 * part for part in interval(values))
            text = f"{mean:+.2f} points (95 %: {low:+.2f} to {high:+.2f})"
            lines.append(f"\nMean difference over {len(values)} {title}: {text}.")
    return "\n".join(lines)


def command_line() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=place, required=True)
    parser.add_argument("--train-size", type=int, default=5000)
    parser.add_argument("--test-size", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both sides for each seed; each pair is printed as soon as it is there."""
    options = command_line().parse_args(arguments)
    images = Images("images", str(options.data), options.train_size, options.test_size)
    found: list[AccuracyPair] = []
    with tempfile.TemporaryDirectory() as folder, ComparisonRunner(Path(folder) / "cache") as lab:
        there = decoded(images, Path(folder))
        for seed in map(int, options.seeds.split(",")):
            protocol = replace(PROTOCOL, seed=seed)
            own = lab.run(our_spec(images, protocol)).accuracies
            other = reference_process(images, protocol, there).accuracies
            found += pairs(seed, own, other)
            print(json.dumps({"seed": seed, "ours": own, "reference": other}), flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
