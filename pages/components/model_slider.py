"""The models of a run one by one: size, accuracy, and the test images that changed."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import streamlit as st

from pages.components.address import Address, Parameter
from pages.components.lab import Lab
from pages.components.markdown import inline, plain
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_percent,
    format_times,
    signed,
    signed_bytes,
)
from pruning_core.methods.strategies import BASELINE, QUANTIZED, STRATEGIES
from pruning_core.planning.exports import prediction_changes
from pruning_core.planning.measurement_types import PredictionChangesResult
from pruning_core.planning.stage import Outline, read_result
from pruning_core.planning.stage_types import Json
from pruning_core.results.models import titles
from pruning_core.results.predictions import changed_classes
from pruning_core.results.rows import Row
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_record import Job

RUN, MODEL = "run", "model"
PARAMETERS = (Parameter(RUN), Parameter(MODEL))
# Up to so many test pixels both models run without a click: some seconds on one thread.
PIXELS_AT_ONCE = 4_000 * 32 * 32
STYLE = """
<style>
.images {display: flex; flex-wrap: wrap; gap: 0.8rem; list-style: none;
    padding: 0 !important; margin: 0 !important;}
.images li {margin: 0 !important; width: 96px; font-size: 0.75rem; line-height: 1.25;
    overflow-wrap: anywhere;}
.images img {width: 72px; height: 72px; image-rendering: pixelated; display: block;}
</style>
"""


def models_in_order(rows: Iterable[Row], run: str) -> list[Row]:
    """The models of a run in order of sparsity, without the baseline and int8 files."""
    order = list(STRATEGIES)
    models = (
        row
        for row in rows
        if row["run_id"] == run and row["strategy"] not in (BASELINE, *QUANTIZED)
    )
    return sorted(
        models,
        key=lambda row: (
            round(row["sparsity_prunable"], 6),
            order.index(row["strategy"]),
            row["iteration"],
            row["seed"],
        ),
    )


def limit_choices(rows: list[Row], jobs: Sequence[Job], address: Address) -> None:
    """Reject what the link names and these runs lack; call before the address is written.

    A link to a model alone opens its run.
    """
    runs = {row["run_id"] for row in rows}
    of_model = next((r["run_id"] for r in rows if r["key"] == address[MODEL]), "")
    if not address[RUN] and of_model:
        address[RUN] = of_model
    first = next((job.id for job in jobs if job.id in runs), "")
    by_id = {job.id: job for job in jobs if job.id in runs}
    run = address.limit(RUN, {name: job.label for name, job in by_id.items()}, first, "run")
    names = titles(Outline.from_json(by_id[run].outline)) if run else {}
    models = {row["key"]: names[row["key"]][0] for row in models_in_order(rows, run)}
    address.limit(MODEL, models, next(reversed(models), ""), "model")


@st.fragment
def draw_model_slider(lab: Lab, jobs: Sequence[Job], rows: list[Row], address: Address) -> None:
    """The section. `rows` have their differences from the reference."""
    st.header("Models one by one")
    by_id = {job.id: job for job in jobs if any(row["run_id"] == job.id for row in rows)}
    run = str(address[RUN])
    if len(by_id) > 1:
        names_by_id = {row["run_id"]: row["run"] for row in rows}
        labels = {name: names_by_id[name] for name in by_id}
        help_text = "The slider moves through the models of this run."
        run = address.select_box(RUN, "Run of the model", labels, help_text, 360)
    models = {row["key"]: row for row in models_in_order(rows, run)}
    if not models:
        st.caption("This run has no finished pruned model yet.")
        address.write_part()
        return
    names = titles(Outline.from_json(by_id[run].outline))
    key = _pick_model(models, {key: names[key][0] for key in models}, address)
    address.write_part()
    _draw_model(models[key], names[key][0])
    _draw_changes(lab, by_id[run], models[key], rows)


def _pick_model(models: dict[str, Row], names: dict[str, str], address: Address) -> str:
    """The slider; a run with a single model has none."""
    keys = list(models)
    if address[MODEL] not in models:  # another run was chosen
        address[MODEL] = keys[-1]
    if len(keys) == 1:
        return keys[0]
    return str(
        st.select_slider(
            "Model, in order of sparsity",
            keys,
            value=address[MODEL],
            key=address.key(MODEL),
            format_func=names.__getitem__,
            help="Chooses a model of the run, from the lowest to the highest sparsity.",
        )
    )


def _draw_model(row: Row, name: str) -> None:
    """Size and accuracy of the model in one line, with the differences from the reference."""
    size, points = signed_bytes(row["bytes_difference"]), signed(row["accuracy_difference"])
    parts = (
        f"{format_bytes(row['sparse_bytes'])} ({size}), {format_times(row['compression_ratio'])}x",
        f"accuracy {format_percent(row['accuracy'])} ({points} points)",
        f"{format_percent(row['sparsity_prunable'])} sparsity",
    )
    st.markdown(f"**{plain(name[0].upper() + name[1:])}**: {plain(', '.join(parts))}")
    st.caption(plain(f"In parentheses: the difference from {row['reference']}."))


def _draw_changes(lab: Lab, job: Job, row: Row, rows: list[Row]) -> None:
    """The test images that only the dense model, or only this one, classifies correctly."""
    dense = next(
        other["key"]
        for other in rows
        if (other["run_id"], other["seed"]) == (row["run_id"], row["seed"])
        and other["strategy"] == BASELINE
    )
    stage = prediction_changes(dense, row["key"])
    pixels = int(row["test_images"]) * from_json(job.spec).data.image_size ** 2
    finished = run_stage(
        lab,
        [stage],
        "Find changed predictions",
        busy="Running both models on the test images",
        help="Runs the dense model and this one on all test images.",
        at_once=pixels <= PIXELS_AT_ONCE,
    )
    if not finished:
        return
    result = read_result(lab.store, stage.key, PredictionChangesResult)
    for note in result.notes:
        st.caption(inline(note))
    lost, gained = st.columns(2)
    with lost:
        st.subheader(f"Right with the dense model only ({result.lost:,})")
        _draw_images(result.lost_images, result.lost)
    with gained:
        st.subheader(f"Right with this model only ({result.gained:,})")
        _draw_images(result.gained_images, result.gained)
    table = changed_classes(result)
    if table.empty:
        st.caption("No class lost accuracy.")
        return
    st.subheader("Classes that lost most accuracy")
    st.dataframe(table, hide_index=True, key="changed classes", width="content")


def _draw_images(images: Sequence[Json], count: int) -> None:
    """Thumbnails with the true class and both predictions."""
    if not images:
        st.caption("No image.")
        return
    if count > len(images):
        shown = format_count(len(images), "image")
        st.caption(f"The {shown} with the most confident wrong prediction.")
    items = "".join(map(image_html, images))
    st.html(f'{STYLE}<ul class="images">{items}</ul>')


def image_html(image: Json) -> str:
    """One image as an item of a list in HTML."""
    label, number = html.escape(image["label"]), image["number"]
    (dense, dense_confidence), (model, model_confidence) = image["dense"], image["model"]
    alt = html.escape(f"Test image {number}, true class {image['label']}")
    predictions = "<br>".join(
        f"{who}: {html.escape(name)} ({format_percent(confidence, 0)})"
        for who, name, confidence in (
            ("dense", dense, dense_confidence),
            ("this", model, model_confidence),
        )
    )
    source = f"data:image/png;base64,{image['png']}"
    return f'<li><img src="{source}" alt="{alt}">true: <b>{label}</b><br>{predictions}</li>'
