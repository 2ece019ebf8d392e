"""How much each weight matters: the lowest scores are removed first.

A criterion looks at the `Evidence` and gives finite scores for the weights by name: of the
weights' shape, in floating point. It leaves the model, the weights and
torch's random state as they were. What each needs, and what it is called, stands in
`pruning_core/criterion_choices.py`.
"""

from __future__ import annotations

from pruning_core.engine.criteria.gradients import obd, snip, taylor
from pruning_core.engine.criteria.inputs import Criterion
from pruning_core.engine.criteria.magnitude import magnitude, random
from pruning_core.engine.criteria.movement import movement
from pruning_core.engine.criteria.synflow import synflow
from pruning_core.engine.criteria.wanda import wanda

CRITERIA: dict[str, Criterion] = {
    "magnitude": magnitude,
    "random": random,
    "taylor": taylor,
    "snip": snip,
    "synflow": synflow,
    "movement": movement,
    "wanda": wanda,
    "obd": obd,
}
