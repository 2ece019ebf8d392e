"""How long a run will take here, from this machine's own measured speed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruning_core.plan import Plan, Reader, Stage, inspect_data, inspect_model
from pruning_core.spec import Spec

KNOWN = {
    "digits": (1437, 10),
    "cifar10": (50000, 10),
    "cifar100": (50000, 100),
    "mnist": (60000, 10),
    "fashion_mnist": (60000, 10),
}
SECONDS_PER_STAGE = 2.0
START_SECONDS = 8.0
SECOND_THREAD = 0.2


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole run, and of the part that is not in the cache yet."""

    total: float
    left: float


def probe(spec: Spec, store: Reader) -> Stage | None:
    """The inspection that measures the speed; None while the data are unknown.

    It leaves the weights out, so that looking at a preset downloads nothing.
    """
    size = _size(spec, store)
    if size is None:
        return None
    plain = replace(spec, model=replace(spec.model, weights="none"))
    return inspect_model(plain, size[1])


def estimate(spec: Spec, plan: Plan, store: Reader, cores: int) -> Estimate | None:
    """Seconds on so many cores, or None while the speed is not measured."""
    stage, size = probe(spec, store), _size(spec, store)
    if stage is None or size is None or not store.exists(stage.key):
        return None
    rate = store.read(stage.key)["images_per_second"]
    images = (spec.data.train_size or size[0]) * (1 - spec.data.validation)
    per_epoch = images / rate
    done = {stage.key for stage in plan.stages if store.exists(stage.key)}
    total = _seconds(spec, per_epoch, cores, plan, set())
    return Estimate(total, _seconds(spec, per_epoch, cores, plan, done))


def _size(spec: Spec, store: Reader) -> tuple[int, int] | None:
    """Training images and classes."""
    if spec.data.name in KNOWN:
        return KNOWN[spec.data.name]
    stage = inspect_data(spec)
    if not store.exists(stage.key):
        return None
    facts = store.read(stage.key)
    return sum(facts["train_counts"]), len(facts["classes"])


def _seconds(spec: Spec, per_epoch: float, cores: int, plan: Plan, done: set[str]) -> float:
    """Baselines, then the levels side by side, but never less than the longest branch."""
    stages = [s for s in plan.stages if s.key not in done] if plan.complete else None
    if stages == []:
        return 0.0
    base = [s.settings["epochs"] for s in stages or [] if s.kind == "baseline"]
    levels = [s.settings["epochs"] for s in stages or [] if s.kind == "level"]
    if stages is None:
        base = [spec.baseline_epochs] * len(spec.seeds)
        levels = _level_epochs(spec) * len(spec.seeds)
    threads = min(spec.baseline_threads, cores)
    base_cost = sum(base) * per_epoch / (1 + SECOND_THREAD * (threads - 1))
    work = max(sum(levels) / cores, max(levels, default=0)) * per_epoch
    overhead = SECONDS_PER_STAGE * (len(base) + len(levels) / cores)
    return START_SECONDS + base_cost + work + overhead


def _level_epochs(spec: Spec) -> list[int]:
    levels = [spec.one_shot.epochs] * len(spec.one_shot.amounts)
    if spec.iterative.enabled:
        levels += [spec.iterative.epochs] * spec.iterative.iterations
        if spec.iterative.matched:
            levels.append(spec.iterative.epochs * spec.iterative.iterations)
    return levels
