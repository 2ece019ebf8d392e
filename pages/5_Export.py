"""Ship: one finished model as files, each measured, and the way to take them away."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from pages.components import passports, speed_part, try_it
from pages.components.facts import explain, inline
from pages.components.live import keep_worker
from pages.components.picking import pick_point, pick_run
from pages.components.shell import Lab, link, open_page, plain
from pruning_core.common.formatting import format_count
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.reports.charts.exported_files import file_size_chart
from pruning_core.reports.charts.style import chart_config
from pruning_core.results import exported_files
from pruning_core.results.exported_files import (
    available_formats,
    file_notes,
    files_frame,
    files_table,
    why_not_offered,
)
from pruning_core.storage.stage_queue import Row

POLL_SECONDS = 2.0
ACTIVE = ("queued", "running")


def rows_of(lab: Lab, point: PlannedModel) -> dict[str, Row]:
    """The formats of a point that the queue knows of and the store has not."""
    keys = {name: export_stage(point.key, name).key for name in FILE_FORMATS}
    missing = {name: key for name, key in keys.items() if not lab.store.exists(key)}
    return {name: row for name, key in missing.items() if (row := lab.queue.stage(key))}


def offer(lab: Lab, point: PlannedModel, frame: pd.DataFrame, waiting: dict[str, Row]) -> None:
    """The button that has the missing files made, and why some cannot be."""
    names, left = available_formats(FILE_FORMATS)
    for sentence in left:
        st.caption(inline(sentence))
    failed = {name: row for name, row in waiting.items() if row.status == "failed"}
    for name, row in failed.items():
        st.error(f"{FILE_FORMATS[name].title} failed. {plain(explain(row.field, row.error))}")
    missing = [n for n in names if n not in set(frame["format"]) and not _active(waiting.get(n))]
    if missing and st.button(
        "Make the files" if frame.empty else f"Make {format_count(len(missing), 'more file')}",
        type="primary",
        help="Each is written, read back, run and measured on the test images. About a minute "
        "for a MobileNetV2.",
    ):
        for name in missing:
            lab.queue.forget(export_stage(point.key, name).key)
        lab.queue.add([export_stage(point.key, name) for name in missing])
        st.rerun()


def _active(row: Row | None) -> bool:
    return row is not None and row.status in ACTIVE


@st.fragment(run_every=POLL_SECONDS)
def watch(lab: Lab, point: PlannedModel, dense: PlannedModel, shown: int) -> None:
    """What is being made; the page is drawn anew with each file."""
    keep_worker(lab)
    waiting = rows_of(lab, point)
    active = [name for name, row in waiting.items() if _active(row)]
    if len(files_frame(point, dense, lab.store)) != shown or not active:
        st.rerun()
    running = [name for name in active if waiting[name].status == "running"]
    doing = ", ".join(FILE_FORMATS[name].title for name in running)
    st.caption(f"Being made: {doing or 'waiting for the worker'}. {len(active)} to come.")


def draw_files(lab: Lab, point: PlannedModel, dense: PlannedModel) -> pd.DataFrame:
    """The ladder of bytes: chart, table, notes. Returns its rows."""
    st.header("Files")
    st.caption(
        "Each file was written, read back and run on the test images. The mark is the floor: "
        "the entropy of the places of the zeros and of each byte of the remaining weights. A "
        "file near it leaves little to gain; one whose layers differ much may end a little below."
    )
    frame, waiting = files_frame(point, dense, lab.store), rows_of(lab, point)
    if any(map(_active, waiting.values())):
        watch(lab, point, dense, len(frame))
    offer(lab, point, frame, waiting)
    if frame.empty:
        return frame
    st.plotly_chart(file_size_chart(frame), key="bytes", config=chart_config("files"))
    with st.expander("Table"):
        st.dataframe(files_table(frame), hide_index=True)
    for row in frame.to_dict("records"):
        if why := why_not_offered(row):
            st.warning(inline(why))
    for note in file_notes(frame):
        st.caption(inline(note))
    return frame


def draw_downloads(lab: Lab, frame: pd.DataFrame) -> None:
    """Every file by name, with what opens it."""
    st.header("Downloads")
    st.caption(
        "For phones take the .pte file: optimize_for_mobile of the assignment's snippet no longer "
        "works in the torch that pip installs."
    )
    with st.container(horizontal=True):
        for row in frame.to_dict("records"):
            about = FILE_FORMATS[row["format"]]
            if not about.download or why_not_offered(row):
                continue
            st.download_button(
                about.title,
                functools.partial(lab.store.content, row["key"], row["file"]),
                row["file"],
                "application/octet-stream",
                on_click="ignore",
                help=about.help,
                key=f"download {row['format']}",
            )
        st.download_button(
            "Table (CSV)", lambda: exported_files.to_csv(frame), "files.csv", on_click="ignore"
        )


def main() -> None:
    lab = open_page("Export")
    st.title("Export")
    job = pick_run(lab)
    if job is None:
        st.info("No model is finished yet. Start a run on Home or Tune and come back.")
        link("Home", "Choose a preset")
        return
    point = pick_point(lab, job, "ship")
    if point is None:
        return
    verdict = st.container()
    frame = draw_files(lab, point, Outline.from_json(job.outline).dense_of(point))
    if not frame.empty:
        draw_downloads(lab, frame)
    speed_part.draw(lab, job, point, verdict)
    if not frame.empty:
        passports.draw(lab, job, point, frame)
    try_it.draw(lab, job, point)


main()
