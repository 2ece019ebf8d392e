"""From stages to rows: every figure defined once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Outline, Plan, PlannedModel, outline
from pruning_core.results.models import (
    chain_names,
    combined,
    damaged,
    model_rows,
    results_frame,
    titles,
)
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.results import result


def filled(missing: int = 0) -> tuple[Facts, Plan]:
    """Results of all models but the last `missing`, and their plan."""
    facts = Facts(QUICKSTART)
    made = plan(QUICKSTART, facts)
    for i, model in enumerate(made.models[: len(made.models) - missing]):
        pruned = model.strategy != "baseline"
        facts.results[model.key] = result(
            round(model.target * 80), 0.9 - 0.1 * pruned, 20 - i, i * pruned
        )
    return facts, made


def test_figures_of_a_row() -> None:
    facts, made = filled()
    frame = results_frame(outline(made), facts, "run", "id")
    row = frame[(frame.strategy == "one_shot") & (frame.sparsity_asked == 0.5)].iloc[0]
    assert row.sparsity_prunable == 0.5
    assert row.sparsity_weights == 0.4
    assert row.sparsity_model == pytest.approx(0.2)
    assert row.accuracy_drop == pytest.approx(0.1)
    assert row.compression_ratio == 4.0
    assert row.run == "run"
    assert (row.regrown, row.quantized_from) == (3, "")


def test_epochs_of_a_pruned_model_count_from_the_baseline() -> None:
    facts, made = filled()
    frame = results_frame(outline(made), facts)
    base = frame[frame.strategy == "baseline"].iloc[0]
    assert (base.epochs, base.seconds, base.accuracy_drop) == (20, 40.0, 0.0)
    keys = [model.key for model in made.models]
    last = frame[(frame.strategy == "iterative") & (frame.iteration == 5)].iloc[0]
    assert last.epochs == keys.index(last.key)


def test_the_dense_control_and_the_baseline_are_different_rows() -> None:
    facts, made = filled()
    frame = results_frame(outline(made), facts)
    control = frame[(frame.strategy == "one_shot") & (frame.sparsity_asked == 0.0)]
    assert len(control) == 1
    assert len(frame[frame.strategy == "baseline"]) == 1


def test_unfinished_models_have_no_row() -> None:
    facts, made = filled(missing=3)
    assert len(model_rows(outline(made), facts)) == len(made.models) - 3


def test_without_a_baseline_there_are_no_rows() -> None:
    facts, made = filled()
    del facts.results[made.models[0].key]
    assert results_frame(outline(made), facts).empty
    assert combined([]).empty


def test_chance_is_that_of_the_baseline() -> None:
    facts, made = filled()
    frame = results_frame(outline(made), facts, data="digits")
    assert set(frame.chance) == {0.1}
    assert set(frame.data) == {"digits"}


def test_validation_images_are_paired_with_those_of_the_baseline() -> None:
    facts, made = filled()
    row = next(r for r in model_rows(outline(made), facts) if r["sparsity_asked"] == 0.5)
    assert (row["validation_lost"], row["validation_gained"]) == (100, 0)


def test_notes_of_a_baseline_concern_its_seed_only() -> None:
    spec = replace(QUICKSTART, seeds=(0, 1))
    facts = Facts(spec)
    made = plan(spec, facts)
    for model in made.models:
        facts.results[model.key] = result(round(model.target * 80), 0.9, 2, 4)
    skipped = next(p for p in made.models if p.strategy == "baseline" and p.seed == 1)
    facts.results[skipped.key]["notes"] = ["3 steps were skipped."]
    frame = results_frame(outline(made), facts)
    noted = frame[[bool(notes) for notes in frame.notes]]
    assert set(noted.seed) == {1}
    assert len(noted) == len(frame) / 2


def test_damaged_models_are_among_those_done(store: Store, cache: Cache) -> None:
    _, made = filled()
    keys = [model.key for model in made.models[:3]]
    for key in keys:
        with store.building(key) as folder:
            store.publish(key, folder, kind="pruned", parent="", settings={}, result={})
    (cache.stage(keys[1]) / "manifest.json").write_text("{}")
    assert damaged(outline(made), store, keys) == [keys[1]]
    assert damaged(outline(made), store, keys) == [keys[1]]
    assert damaged(outline(made), store, [keys[0], "f" * 64]) == []


def test_final_fine_tuning_is_named_and_noted_and_survives_the_job_s_outline() -> None:
    chain = replace(QUICKSTART.iterative, iterations=2, epochs=0.5, final_epochs=2.5)
    spec = replace(QUICKSTART, iterative=chain)
    facts = Facts(spec)
    made = plan(spec, facts)
    for model in made.models:
        facts.results[model.key] = {**result(72, 0.9, 1, 1), "epochs": 2.5, "epochs_total": 3.5}
    kept = Outline.from_json(outline(made).to_json())
    assert kept == outline(made)
    names = [name for name, strategy in titles(kept).values() if strategy == "iterative"]
    assert names == [
        "iterative 1 of 2, 68.4 %",
        "iterative 2 of 2, 90 %",
        "final fine-tuning, 90 %",
    ]
    frame = results_frame(kept, facts)
    notes = frame[frame.strategy == "iterative"].set_index("iteration").notes
    assert notes[2] == []
    assert notes[3] == [
        "Step 3 is final fine-tuning: no pruning, 2.5 epochs, and the learning rate decays to 0."
    ]


def test_an_outline_without_final_models_is_read() -> None:
    text = outline(filled()[1]).to_json()
    short = text.replace(', "final": false', "")
    assert "final" not in short
    assert Outline.from_json(short) == Outline.from_json(text)


MODELS = (
    PlannedModel("baseline", 0, 0, 0.0, "a"),
    PlannedModel("one_shot", 0, 0, 0.0, "b"),
    PlannedModel("one_shot", 0, 0, 0.9, "c"),
    PlannedModel("correction", 0, 0, 0.9, "d"),
    PlannedModel("correction", 0, 1, 0.9, "e"),
    PlannedModel("correction", 0, 2, 0.9, "f"),
    PlannedModel("one_shot_equal_budget", 0, 0, 0.9, "g"),
    PlannedModel("iterative", 0, 1, 0.5, "h"),
    PlannedModel("structured", 0, 0, 0.25, "i"),
    PlannedModel("structured", 0, 1, 0.3, "j"),
    PlannedModel("structured", 0, 2, 0.5, "k"),
    PlannedModel("structured", 0, 3, 0.5, "l", final=True),
)


def test_titles_name_strategy_sparsity_and_step() -> None:
    assert titles(Outline(MODELS)) == {
        "a": ("baseline", "baseline"),
        "b": ("fine-tuned dense control", "one_shot"),
        "c": ("one-shot 90 %", "one_shot"),
        "d": ("training-free, no correction, 90 %", "correction"),
        "e": ("training-free, BN recalibration, 90 %", "correction"),
        "f": ("training-free, bias correction, 90 %", "correction"),
        "g": ("one-shot 90 %, equal budget", "one_shot_equal_budget"),
        "h": ("iterative 1 of 1, 50 %", "iterative"),
        "i": ("structured 25 %", "structured"),
        "j": ("structured 30 %, step 1", "structured"),
        "k": ("structured 50 %, step 2", "structured"),
        "l": ("structured, final fine-tuning, 50 %", "structured"),
    }
    second = replace(MODELS[2], seed=1, key="m")
    assert titles(Outline((*MODELS, second)))["m"][0] == "one-shot 90 %, seed 1"


def test_models_of_a_chain_share_its_name() -> None:
    names = {model.key: name for model, name in chain_names(Outline(MODELS)).items()}
    chain = dict.fromkeys("jkl", "structured 50 %")
    assert names == {"h": "iterative", "i": "structured 25 %", **chain}
