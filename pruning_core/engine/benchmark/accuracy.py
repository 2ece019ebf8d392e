"""Compares the accuracy of this project with that of the plain script of the assignment.

Both sides run the same protocol on the same images. The output is a table and the 95 % confidence
interval (Student's t) of the mean difference over all pairs of models. Models of one seed share a
baseline and are not independent, so the interval over the means of the seeds is printed too.
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

from pruning_core.common.files import expand_path
from pruning_core.engine.benchmark.comparison import ComparisonRunner, Images, our_spec
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.benchmark.runs import decoded, reference_process

# The epochs of the assignment: two after one-shot pruning, one after each iterative step.
PROTOCOL = Protocol(baseline_epochs=5, one_shot_epochs=2, epochs=1)


@dataclass(frozen=True)
class AccuracyPair:
    """The test accuracies of a model on both sides, as fractions."""

    seed: int
    name: str
    ours: float
    reference: float

    @property
    def difference(self) -> float:
        """Our accuracy minus that of the reference."""
        return self.ours - self.reference


def pairs(seed: int, ours: dict[str, float], reference: dict[str, float]) -> list[AccuracyPair]:
    """The models of one seed, paired by name."""
    return [AccuracyPair(seed, name, ours[name], reference[name]) for name in reference]


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """The mean of at least two differences, and its 95 % confidence interval (low, high)."""
    mean, error = statistics.mean(differences), stats.sem(differences)
    margin = float(stats.t.ppf(0.975, len(differences) - 1) * error)
    return mean, mean - margin, mean + margin


def table(all_pairs: Sequence[AccuracyPair]) -> str:
    """A Markdown table of the means over the seeds, and the confidence intervals."""
    lines = ["| model | ours | reference | difference (points) |", "|---|---|---|---|"]
    for name in dict.fromkeys(pair.name for pair in all_pairs):
        rows = [pair for pair in all_pairs if pair.name == name]
        ours = statistics.mean(pair.ours for pair in rows)
        reference = statistics.mean(pair.reference for pair in rows)
        difference = f"{100 * (ours - reference):+.1f}"
        lines.append(f"| {name} | {100 * ours:.1f} % | {100 * reference:.1f} % | {difference} |")
    seeds = list(dict.fromkeys(pair.seed for pair in all_pairs))
    means = [statistics.mean(p.difference for p in all_pairs if p.seed == seed) for seed in seeds]
    for noun, values in (("models", [p.difference for p in all_pairs]), ("seeds", means)):
        if len(values) > 1:
            mean, low, high = (100 * value for value in interval(values))
            text = f"{mean:+.2f} points (95 % CI {low:+.2f} to {high:+.2f})"
            lines.append(f"\nMean difference over {len(values)} {noun}: {text}.")
    return "\n".join(lines)


def command_line() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=expand_path, required=True, help="image folder or .zip")
    parser.add_argument("--train-size", type=int, default=5000, help="training images (5000)")
    parser.add_argument("--test-size", type=int, default=1000, help="test images (1000)")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, with commas (0,1,2)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both sides for each seed, print their accuracies at once, and the table at the end."""
    options = command_line().parse_args(arguments)
    images = Images("images", str(options.data), options.train_size, options.test_size)
    all_pairs: list[AccuracyPair] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ComparisonRunner(Path(folder) / "cache") as runner,
    ):
        decoded_folder = decoded(images, Path(folder))
        for seed in map(int, options.seeds.split(",")):
            protocol = replace(PROTOCOL, seed=seed)
            ours = runner.run(our_spec(images, protocol)).accuracies
            reference = reference_process(images, protocol, decoded_folder).accuracies
            all_pairs += pairs(seed, ours, reference)
            print(json.dumps({"seed": seed, "ours": ours, "reference": reference}), flush=True)
    print(table(all_pairs))


if __name__ == "__main__":
    main()
