"""From stages to rows: every figure defined once."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Outline, Plan, outline
from pruning_core.results import models
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts


def result(zeros: int, accuracy: float, epochs: int, total: int) -> dict:
    right = round(accuracy * 10)
    bits = np.packbits(np.arange(10) < right).tobytes()
    return {
        "accuracy": accuracy,
        "validation_accuracy": accuracy - 0.01,
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1,
        "right": right,
        "test_images": 10,
        "correct": base64.b64encode(bits).decode(),
        "test_digest": "t",
        "loss": 1.0,
        "prunable": 80,
        "prunable_zeros": zeros,
        "weights": 100,
        "weights_zeros": zeros,
        "parameters": 200,
        "nonzero": 200 - zeros,
        "dense_bytes": 1000,
        "sparse_bytes": 250,
        "epochs": epochs,
        "epochs_total": total,
        "seconds": epochs * 2.0,
        "seconds_total": total * 2.0,
        "history": [],
        "versions": {},
        "device": "cpu",
        "threads": 1,
        "notes": [],
    }


def filled(missing: int = 0) -> tuple[Facts, Plan]:
    facts = Facts(QUICKSTART)
    made = plan(QUICKSTART, facts)
    for i, point in enumerate(made.models[: len(made.models) - missing]):
        pruned = point.strategy != "baseline"
        facts.results[point.key] = result(
            round(point.target * 80), 0.9 - 0.1 * pruned, 20 - i, i * pruned
        )
    return facts, made


def test_figures_of_a_row() -> None:
    facts, made = filled()
    frame = models.points(outline(made), facts, "run", "id")
    row = frame[(frame.strategy == "one_shot") & (frame.sparsity_asked == 0.5)].iloc[0]
    assert row.sparsity_prunable == 0.5
    assert row.sparsity_weights == 0.4
    assert row.sparsity_model == pytest.approx(0.2)
    assert row.accuracy_drop == pytest.approx(0.1)
    assert row.compression_ratio == 4.0
    assert row.run == "run"


def test_a_baseline_has_its_own_epochs_and_a_level_those_since() -> None:
    facts, made = filled()
    frame = models.points(outline(made), facts)
    base = frame[frame.strategy == "baseline"].iloc[0]
    assert (base.epochs, base.seconds, base.accuracy_drop) == (20, 40.0, 0.0)
    keys = [point.key for point in made.models]
    last = frame[(frame.strategy == "iterative") & (frame.iteration == 5)].iloc[0]
    assert last.epochs == keys.index(last.key)


def test_the_dense_control_is_a_row_apart_from_the_baseline() -> None:
    facts, made = filled()
    frame = models.points(outline(made), facts)
    control = frame[(frame.strategy == "one_shot") & (frame.sparsity_asked == 0.0)]
    assert len(control) == 1
    assert len(frame[frame.strategy == "baseline"]) == 1


def test_what_is_not_finished_is_left_out() -> None:
    facts, made = filled(missing=3)
    assert len(models.models(outline(made), facts)) == len(made.models) - 3


def test_without_baseline_there_is_nothing_to_compare_with() -> None:
    facts, made = filled()
    del facts.results[made.models[0].key]
    assert models.points(outline(made), facts).empty
    assert models.together([]).empty


def test_chance_is_the_share_of_the_largest_class() -> None:
    facts, made = filled()
    frame = models.points(outline(made), facts, data="digits")
    assert set(frame.chance) == {0.1}
    assert set(frame.data) == {"digits"}
    counts = {**facts.results[made.stages[0].key], "test_counts": [30, 10]}
    facts.results[made.stages[0].key] = counts
    assert set(models.points(outline(made), facts).chance) == {0.75}


def test_a_baselines_notes_stand_at_its_own_seed_only() -> None:
    spec = replace(QUICKSTART, seeds=(0, 1))
    facts = Facts(spec)
    made = plan(spec, facts)
    for point in made.models:
        facts.results[point.key] = result(round(point.target * 80), 0.9, 2, 4)
    skipped = next(p for p in made.models if p.strategy == "baseline" and p.seed == 1)
    facts.results[skipped.key]["notes"] = ["3 steps were skipped."]
    frame = models.points(outline(made), facts)
    noted = frame[[bool(notes) for notes in frame.notes]]
    assert set(noted.seed) == {1}
    assert len(noted) == len(frame) / 2


def test_damaged_results_are_those_that_were_done(store: Store, cache: Cache) -> None:
    _, made = filled()
    keys = [point.key for point in made.models[:3]]
    for key in keys:
        with store.building(key) as folder:
            store.publish(key, folder, kind="pruned", parent="", settings={}, result={})
    (cache.stage(keys[1]) / "manifest.json").write_text("{}")
    assert models.damaged(outline(made), store, keys) == [keys[1]]
    assert models.damaged(outline(made), store, keys) == [keys[1]]
    assert models.damaged(outline(made), store, [keys[0], "f" * 64]) == []


def test_a_tail_is_named_and_noted_and_survives_the_job_s_outline() -> None:
    chain = replace(QUICKSTART.iterative, iterations=2, epochs=0.5, final_epochs=2.5)
    spec = replace(QUICKSTART, iterative=chain)
    facts = Facts(spec)
    made = plan(spec, facts)
    for point in made.models:
        facts.results[point.key] = {**result(72, 0.9, 1, 1), "epochs": 2.5, "epochs_total": 3.5}
    kept = Outline.from_json(outline(made).to_json())
    assert kept == outline(made)
    names = [name for name, strategy in models.titles(kept).values() if strategy == "iterative"]
    assert names == ["step 1, 68.4 %", "step 2, 90 %", "tail, 90 %"]
    frame = models.points(kept, facts)
    notes = frame[frame.strategy == "iterative"].set_index("iteration").notes
    assert notes[2] == []
    assert notes[3] == ["Step 3 is the tail: no cut, 2.5 epochs with the rate falling to 0."]


def test_an_outline_from_before_there_were_tails_is_read() -> None:
    text = outline(filled()[1]).to_json()
    assert Outline.from_json(text.replace(', "tail": false', "")) == Outline.from_json(text)
