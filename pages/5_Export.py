"""Export: one finished model as files, its latency, its bundle, and its predictions."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from pages.components.address import Address, Parameter, number
from pages.components.bundle import draw_bundle
from pages.components.chart import draw_chart
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.latency import PARAMETERS, draw_latency
from pages.components.links import link
from pages.components.markdown import inline
from pages.components.picking import pick_model, pick_run
from pages.components.predict import draw_predictions
from pages.components.run_stage import run_stage
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.errors import HIGHEST
from pruning_core.common.formatting import format_count
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import ExportSettings
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.planning.stage_types import restored
from pruning_core.reports.charts.exported_files import file_size_chart
from pruning_core.results import exported_files
from pruning_core.results.exported_files import (
    available_formats,
    file_notes,
    files_frame,
    files_table,
    why_not_offered,
)
from pruning_core.storage.jobs import Job

ADDRESS = Address(
    "Export",
    Parameter("run"),
    Parameter("model"),
    *PARAMETERS,
    Parameter("bundle"),
    number("image", 0, 0, HIGHEST),
)


def draw_files(lab: Lab, model: PlannedModel, dense: PlannedModel) -> pd.DataFrame:
    """Size and accuracy of each exported file. Returns a row per file."""
    header_with_guide("Files", "export", "file-formats")
    run_exports(lab, model)
    frame = files_frame(model, dense, lab.store)
    if frame.empty:
        st.caption("Each file is written, read back and run on the test images.")
        return frame
    st.caption(
        "Each file was written, read back and run on the test images. Orange mark: order-0 entropy "
        "of the mask and the values, a reference and no lower bound."
    )
    draw_chart(file_size_chart(frame), "files")
    with st.expander("Table"):
        st.dataframe(files_table(frame), hide_index=True)
    for row in frame.to_dict("records"):
        if reason := why_not_offered(row):
            st.warning(inline(reason))
    for note in file_notes(frame):
        st.caption(inline(note))
    return frame


def run_exports(lab: Lab, model: PlannedModel) -> None:
    """The button that exports the missing formats, and the reason for formats that cannot be."""
    names, reasons = available_formats(FILE_FORMATS)
    for reason in reasons:
        st.caption(inline(reason))
    stages = [export_stage(model.key, name) for name in names]
    missing = sum(not lab.store.exists(stage.key) for stage in stages)
    partly = f"Export {format_count(missing, 'more format')}"
    run_stage(
        lab,
        stages,
        "Export all formats" if missing == len(stages) else partly,
        busy="Exporting",
        help="Writes each file, reads it back and measures it on the test images. Takes about a "
        "minute for a MobileNetV2.",
        name=format_title,
        primary=True,
    )


def format_title(stage: Stage) -> str:
    """The title of the file format of an export stage."""
    return FILE_FORMATS[restored(ExportSettings, stage.settings).format].title


def draw_downloads(lab: Lab, files: pd.DataFrame) -> None:
    """A button for each file that passed its check."""
    st.header("Downloads")
    st.caption("For mobile, use ExecuTorch (.pte).")
    with st.container(horizontal=True):
        for row in files.to_dict("records"):
            file_format = FILE_FORMATS[row["format"]]
            if not file_format.download or why_not_offered(row):
                continue
            st.download_button(
                file_format.title,
                functools.partial(lab.store.content, row["key"], row["file"]),
                row["file"],
                "application/octet-stream",
                on_click="ignore",
                help=file_format.help,
                key=f"download {row['format']}",
            )
        st.download_button(
            "Table (CSV)", lambda: exported_files.to_csv(files), "files.csv", on_click="ignore"
        )


def draw_model(lab: Lab, job: Job, model: PlannedModel) -> None:
    """Everything about one model."""
    # Filled below by the measurements that the summary needs.
    summary = st.container()
    files = draw_files(lab, model, Outline.from_json(job.outline).dense_of(model))
    if not files.empty:
        draw_downloads(lab, files)
    draw_latency(lab, job, model, summary, ADDRESS)
    if not files.empty:
        draw_bundle(lab, job, model, files, ADDRESS)
    draw_predictions(lab, job, model, ADDRESS)


def main() -> None:
    lab = open_page("Export")
    st.title("Export")
    ADDRESS.open()
    place = st.container()
    job = pick_run(lab, ADDRESS)
    if job is None:
        st.info("No model has finished yet. Start a run on Home or Tune.")
        link("Home", "Choose a preset")
        return
    if model := pick_model(lab, job, ADDRESS):
        draw_model(lab, job, model)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()
