"""The sensitivity scan: which stages it takes, what they found, and what that proposes.

A scan cuts each layer of a baseline alone, trains nothing and looks at validation images (see
`engine.sensitivity`). Its stages hang off the baseline, so every run with it shares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pruning_core.common.errors import SpecError
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Reader, Stage, known
from pruning_core.results import sensitivity
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store

HALVINGS = 60
# No layer is proposed to lose all: what was not measured up to here is not known to be borne.
MOST = 0.999
Curve = tuple[np.ndarray, np.ndarray]


def frame(scans: Iterable[Stage], store: Reader) -> pd.DataFrame:
    """What finished scans found: a row a layer and sparsity, in the order of the layers.

    Columns `layer`, `size` (its weights, `of` says "weights"; of a coupled group its channels),
    `pieces` (what goes as one: weights, kernels, filters, channels),
    `sparsity` (of the pieces), `removed`, `accuracy`, `low`, `high`, `images`, and
    `drop`, the dense accuracy minus this one; all shares are fractions.
    """
    rows = []
    for stage in scans:
        if (found := known(store, stage.key)) is None:
            continue
        dense = found["rows"][0]["accuracy"]
        own = {"layer": stage.settings["layer"], "size": found["size"], "pieces": found["units"]}
        own["of"] = found.get("of", "weights")
        rows += [{**own, **row, "drop": dense - row["accuracy"]} for row in found["rows"]]
    return pd.DataFrame(rows)


def propose(found: pd.DataFrame, total: float) -> dict[str, float]:
    """Sparsities by layer that lose equally much everywhere and remove `total` of all pieces.

    The loss of a layer is read off its scan, made never to fall with sparsity, on straight
    lines between what was measured; beyond the last measured sparsity nothing is known, and
    nothing is proposed. Raises `SpecError` where the measured sparsities do not reach `total`.
    """
    curves = {name: _curve(rows) for name, rows in found.groupby("layer", sort=False)}
    sizes = found.groupby("layer", sort=False)["pieces"].first().to_dict()
    most = _share({name: borne[-1] for name, (_, borne) in curves.items()}, sizes)
    if not 0 <= total <= most:
        raise SpecError(
            "one_shot.amounts",
            f"{total:.2%} is asked for, but what the scan measured of each layer adds up to "
            f"{most:.2%}. Ask for less, or scan higher sparsities.",
        )
    nothing = dict.fromkeys(curves, 0.0)
    if _share(_at(curves, 0.0), sizes) >= total:
        return _between(nothing, _at(curves, 0.0), sizes, total)
    low, high = 0.0, max(float(loss[-1]) for loss, _ in curves.values())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = _share(_at(curves, middle), sizes) >= total
        low, high = (low, middle) if enough else (middle, high)
    return _between(_at(curves, low), _at(curves, high), sizes, total)


def _curve(rows: pd.DataFrame) -> Curve:
    """Losses that never fall, and the sparsities at which they were measured."""
    ordered = rows.sort_values("sparsity")
    loss = np.maximum.accumulate(ordered["drop"].to_numpy(dtype=float).clip(min=0.0))
    return loss, ordered["sparsity"].to_numpy(dtype=float).clip(max=MOST)


def _at(curves: Mapping[str, Curve], loss: float) -> dict[str, float]:
    """The highest sparsity of each layer whose loss is no more than this."""
    return {name: _highest(*curve, loss) for name, curve in curves.items()}


def _highest(losses: np.ndarray, sparsities: np.ndarray, loss: float) -> float:
    last = int(np.searchsorted(losses, loss, side="right")) - 1
    if last + 1 >= len(losses):
        return float(sparsities[-1])
    share = (loss - losses[last]) / (losses[last + 1] - losses[last])
    return float(sparsities[last] + share * (sparsities[last + 1] - sparsities[last]))


def _share(amounts: Mapping[str, float], sizes: Mapping[str, int]) -> float:
    return sum(amounts[name] * sizes[name] for name in amounts) / sum(sizes.values())


def _between(
    low: dict[str, float], high: dict[str, float], sizes: Mapping[str, int], total: float
) -> dict[str, float]:
    """On the way from one proposal to a larger one: exactly `total`."""
    below, above = _share(low, sizes), _share(high, sizes)
    part = (total - below) / (above - below) if above > below else 0.0
    return {name: low[name] + part * (high[name] - low[name]) for name in low}


def as_text(amounts: Mapping[str, float]) -> tuple[str, ...]:
    """A table of sparsities as `pruning.layer_sparsities` takes it."""
    return tuple(f"{name}={amount:.6g}" for name, amount in amounts.items())


def looked_at(found: pd.DataFrame, asked: int) -> str:
    """How many validation images a scan has looked at, and how many were asked for."""
    images = int(found["images"].iloc[0])
    fewer = f" (all there are; {asked:,} were asked for)" if images < asked else ""
    return f"{images:,} validation images{fewer}"


def steps_of(found: pd.DataFrame) -> Sequence[float]:
    """The sparsities of a scan, in order."""
    return sorted(found["sparsity"].unique()) if not found.empty else []


def read_scan(spec: Spec, store: Store) -> pd.DataFrame:
    """What is finished of a spec's scan (see `sensitivity.frame`)."""
    return sensitivity.frame(_stages(spec, store), store)


def scanned(spec: Spec, store: Store) -> bool:
    """Whether every layer of a spec's scan is finished."""
    found = _stages(spec, store)
    return bool(found) and all(store.exists(stage.key) for stage in found)


def _stages(spec: Spec, store: Store) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]
