"""The exported files of a model as a table: a row for each format, with its download."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from pages.components.lab import Lab
from pages.components.run_stage import PENDING
from pruning_core.common.formatting import format_bytes, format_percent
from pruning_core.methods.file_formats import FILE_FORMATS, FileFormat
from pruning_core.planning.stage import Stage
from pruning_core.results.file_goal import GoalCheck

COLUMNS = ("Format", "Size", "Test accuracy (95 % CI)", "Opens in", "Meets the goal")
STATES = {"queued": "waiting", "running": "exporting", "failed": "failed"}
STYLE = """
<style>
[class*="st-key-file-"] {
    flex-wrap: nowrap; border-top: 1px solid rgba(128, 128, 128, 0.22); padding: 0.25rem 0;}
.file-row {display: grid; grid-template-columns: 1.5fr 0.7fr 1.3fr 1.3fr 1.7fr;
    gap: 0.1rem 1rem; align-items: center; font-size: 0.875rem; overflow-wrap: anywhere;}
.file-row > :first-child {font-weight: 600;}
.file-row .label {position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); white-space: nowrap;}
.st-key-file-head .file-row {font-size: 0.8rem;}
.st-key-file-head .file-row > * {font-weight: 600;}
[class*="st-key-file-"] :is(.stButton, .stDownloadButton) {width: 15rem;}
[class*="st-key-file-"] button {width: 100%; justify-content: flex-start;}
@media (max-width: 800px) {
    .st-key-file-head {display: none;}
    [class*="st-key-file-"] {flex-wrap: wrap;}
    .file-row {grid-template-columns: 1fr;}
    .file-row .label {position: static; width: auto; height: auto; clip-path: none;}
}
</style>
"""


def draw_file_table(
    lab: Lab,
    stages: Mapping[str, Stage],
    rows: Mapping[str, Mapping[Any, Any]],
    checks: Mapping[str, GoalCheck],
) -> None:
    """A row for each format that can be downloaded.

    `stages` export the formats that this machine can write, `rows` are those of a `files_frame`
    and `checks` the files that are offered; all by format.
    """
    st.html(STYLE)
    with st.container(horizontal=True, key="file-head", gap="small"):
        st.html(_row_html(COLUMNS))
        st.html("<div></div>", width=240)
    for name, file_format in FILE_FORMATS.items():
        if file_format.download:
            _draw_row(lab, file_format, stages.get(name), rows.get(name), checks.get(name))


def _draw_row(
    lab: Lab,
    file_format: FileFormat,
    stage: Stage | None,
    row: Mapping[Any, Any] | None,
    check: GoalCheck | None,
) -> None:
    status = _status(lab, stage) if row is None else ""
    with st.container(
        horizontal=True, key=f"file-{file_format.name}", vertical_alignment="center", gap="small"
    ):
        st.html(_row_html(_cells(file_format, row, check, status)))
        if row is not None and check is not None:
            _draw_download(lab, file_format, row)
        elif row is None and stage is not None and status in ("", STATES["failed"]):
            _draw_export(lab, file_format, stage)


def _status(lab: Lab, stage: Stage | None) -> str:
    """The state of a file that is not exported."""
    if stage is None:
        return "not available"
    queued = lab.queue.stage(stage.key)
    return STATES.get(queued.status, "") if queued else ""  # a cancelled file can be exported


def _cells(
    file_format: FileFormat,
    row: Mapping[Any, Any] | None,
    check: GoalCheck | None,
    status: str,
) -> tuple[str, ...]:
    """The texts of the columns."""
    if row is None:
        missing = status or "not exported yet"
        needs = f"needs the package {file_format.package}" if status == "not available" else ""
        return file_format.title, missing, "", file_format.opens_in, needs
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return (
        file_format.title,
        format_bytes(row["bytes"]),
        f"{format_percent(row['accuracy'])} ({low} to {high})",
        file_format.opens_in,
        check.answer if check else "not offered: loses too much accuracy",
    )


def _row_html(cells: tuple[str, ...]) -> str:
    """The cells side by side; on a phone one below the other, each after its column."""
    spans = [
        f'<div><span class="label">{escape(column)}: </span>{escape(cell)}</div>'
        if i and cell
        else f"<div>{escape(cell)}</div>"
        for i, (column, cell) in enumerate(zip(COLUMNS, cells, strict=True))
    ]
    return f'<div class="file-row">{"".join(spans)}</div>'


def _draw_download(lab: Lab, file_format: FileFormat, row: Mapping[Any, Any]) -> None:
    st.download_button(
        f"Download .{file_format.suffix}",
        functools.partial(lab.store.content, row["key"], row["file"]),
        row["file"],
        "application/octet-stream",
        on_click="ignore",
        help=file_format.help,
        key=f"download {file_format.name}",
    )


def _draw_export(lab: Lab, file_format: FileFormat, stage: Stage) -> None:
    def queue() -> None:
        lab.queue.forget(stage.key)
        lab.queue.add([stage])

    st.button(
        f"Export .{file_format.suffix}",
        key=f"export {file_format.name}",
        help=file_format.help,
        on_click=queue,
    )


def waits(lab: Lab, stage: Stage) -> bool:
    """Whether the export of a file waits or runs."""
    row = lab.queue.stage(stage.key)
    return row is not None and row.status in PENDING
