"""Export: one finished model as files, its latency, its bundle, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import live
from pages.components.address import Address, Parameter, choice
from pages.components.bundle import NO_FILE, draw_bundle
from pages.components.chart import draw_chart
from pages.components.file_table import draw_file_table, waits
from pages.components.goal import PARAMETERS as GOAL
from pages.components.goal import draw_goal, reject_wrong_limits
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.latency import PARAMETERS, draw_latency
from pages.components.markdown import inline
from pages.components.model_card import draw_card, model_figures
from pages.components.predict import IMAGE, draw_predictions
from pages.components.run_picker import pick_model, pick_run
from pages.components.run_stage import run_stage
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.formatting import format_count, join_words
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import ExportSettings
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.planning.stage_types import restored
from pruning_core.reports.charts.exported_files import file_size_chart
from pruning_core.results import exported_files
from pruning_core.results.best_model import chance_warnings
from pruning_core.results.exported_files import (
    available_formats,
    file_notes,
    files_frame,
    sizes_text,
    why_not_offered,
)
from pruning_core.results.file_goal import (
    GoalCheck,
    best_file,
    best_model_of_run,
    bound_note,
    candidates,
    check_files,
    check_model,
    goal_text,
)
from pruning_core.results.goal import Goal
from pruning_core.results.models import model_rows, titles
from pruning_core.storage.bundle import BUNDLE_FORMATS
from pruning_core.storage.job_record import Job

ADDRESS = Address(
    "Export",
    Parameter("run"),
    Parameter("model"),
    *GOAL,
    *PARAMETERS,
    choice("bundle", ["", *BUNDLE_FORMATS]),
    IMAGE,
)
# The parameters that apply to the result of a model.
OF_MODEL = (*(parameter.name for parameter in PARAMETERS), "bundle", IMAGE.name)


def draw_files(
    lab: Lab, model: PlannedModel, frame: pd.DataFrame, checks: Mapping[str, GoalCheck], note: str
) -> None:
    """The exported files, a row of the `frame` each, against the goal; `note` is on the goal."""
    header_with_guide("Files", "export", "file-formats")
    names, reasons = available_formats(FILE_FORMATS)
    stages = {name: export_stage(model.key, name) for name in names}
    run_exports(lab, list(stages.values()))
    rows = {row["format"]: row for row in frame.to_dict("records")}
    draw_file_table(lab, stages, rows, checks)
    for row in rows.values():
        if reason := why_not_offered(row):
            st.warning(inline(reason))
    if not frame.empty:
        draw_sizes(frame)
    draw_notes([note, *reasons, *file_notes(frame)])


def draw_answer(checks: list[GoalCheck], goal: Goal, best: str, outline: Outline) -> None:
    """Which files meet the goal, or how near the nearest is; `best` is the model that meets it."""
    st.write(inline(goal_text(checks, goal)))
    if best_file(checks) or best in ("", ADDRESS["model"]):
        return

    def show() -> None:
        ADDRESS["model"] = best

    name = titles(outline)[best][0]
    st.button(f"Show {inline(name)}, which meets the goal", on_click=show)


def run_exports(lab: Lab, stages: list[Stage]) -> None:
    """The button that exports the missing formats, or the progress of those that are exported."""
    missing = [stage for stage in stages if not lab.store.exists(stage.key)]
    if any(waits(lab, stage) for stage in missing):
        # What nobody has asked for is no part of the progress.
        asked = [s for s in stages if s not in missing or lab.queue.stage(s.key)]
    else:
        asked = stages
    partly = f"Export {format_count(len(missing), 'more format')}"
    run_stage(
        lab,
        asked,
        "Export all formats" if len(missing) == len(stages) else partly,
        busy="Exporting",
        help="Writes each file, reads it back and measures it on the test images. Takes about a "
        "minute for a MobileNetV2.",
        name=format_title,
        primary=True,
    )


def format_title(stage: Stage) -> str:
    """The title of the file format of an export stage."""
    return FILE_FORMATS[restored(ExportSettings, stage.settings).format].title


def draw_sizes(frame: pd.DataFrame) -> None:
    """The sizes of all files as a chart, and all figures as a file."""
    draw_chart(file_size_chart(frame), "files", alt=sizes_text(frame), numbers="file sizes")
    compared = [f.title for f in FILE_FORMATS.values() if not f.download]
    st.caption(
        f"Each file was written, read back and run on the test images. {join_words(compared)} are "
        "for comparison only. Orange mark: order-0 entropy of the mask and the values. It is a "
        "reference, not a lower bound."
    )
    st.download_button(
        "Download table (CSV)", lambda: exported_files.to_csv(frame), "files.csv", on_click="ignore"
    )


def draw_notes(notes: list[str]) -> None:
    """What was substituted, left out or not done, folded."""
    if notes:
        with st.expander("Notes on the files"):
            for note in notes:
                st.caption(inline(note))


def draw_model(lab: Lab, job: Job, model: PlannedModel, goal: Goal, card: DeltaGenerator) -> None:
    """Everything about one model; its figures go into the `card`."""
    outline = Outline.from_json(job.outline)
    dense = outline.dense_of(model)
    rows = model_rows(outline, lab.store, job.label, job.id)
    row = next((row for row in rows if row["key"] == model.key), None)
    if row is None:
        ADDRESS.leave_out("the result of the model is missing or damaged", *OF_MODEL)
        st.warning(
            "The result of this model or of its dense baseline is missing or damaged. Open Compare "
            "and press Run again, or choose another model."
        )
        return
    frame = files_frame(model, dense, lab.store)
    models = candidates(rows)
    checks = check_files(frame, goal, models, dense=model == dense)
    draw_answer(list(checks.values()), goal, best_model_of_run(rows, goal, models), outline)
    draw_files(lab, model, frame, checks, bound_note(models, int(row["validation_images"])))
    if frame.empty:
        ADDRESS.leave_out(NO_FILE, "bundle")
    else:
        draw_bundle(lab, job, model, frame, ADDRESS)
    measured = draw_latency(lab, job, model, ADDRESS)
    draw_predictions(lab, job, model, ADDRESS)
    with card:
        draw_card(
            titles(outline)[model.key][0],
            model_figures(row, checks, check_model(row, goal, models), goal, measured),
            chance_warnings(pd.DataFrame(rows)),
        )


def main() -> None:
    lab = open_page("Export")
    st.title("Export")
    ADDRESS.open()
    place = st.container()
    run_column, model_column = st.columns(2)
    with run_column:
        job = pick_run(lab, ADDRESS)
    if job is None:
        reject_wrong_limits(ADDRESS)
        ADDRESS.leave_out("no run has results yet", "model", *OF_MODEL)
        ADDRESS.write()
        draw_link_problems()
        live.draw_no_results(lab)
        return
    with model_column:
        model = pick_model(lab, job, ADDRESS)
    goal = draw_goal(ADDRESS)
    if model:
        draw_model(lab, job, model, goal, st.container())
    else:
        ADDRESS.leave_out("the run has no finished model", *OF_MODEL)
        live.draw_no_model(lab, job)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
