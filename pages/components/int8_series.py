"""The int8 files of all points that are compared: made at a click, then series on the charts."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.facts import explain, inline
from pages.components.live import keep_worker
from pages.components.shell import Lab, plain
from pruning_core.common.formatting import format_count
from pruning_core.planning.stage import Stage
from pruning_core.results.int8 import int8_stages
from pruning_core.results.rows import rows_of
from pruning_core.results.tables import int8_notes

POLL_SECONDS = 2.0
ACTIVE = ("queued", "running")


def draw(lab: Lab, frame: pd.DataFrame) -> None:
    """The button, or how far it is."""
    missing = left(lab, int8_stages(rows_of(frame)))
    rows = {stage.key: lab.queue.stage(stage.key) for stage in missing}
    for reason in dict.fromkeys(
        explain(row.field, row.error) for row in rows.values() if row and row.status == "failed"
    ):
        st.error(f"An int8 file failed. {plain(reason)}")
    if any(row and row.status in ACTIVE for row in rows.values()):
        watch(lab, missing)
    elif missing and st.button(
        "Add int8",
        help="Every point with the weights that are left in 8 bits: as a sparse file with a bit "
        "mask, and through ONNX Runtime with the activations in 8 bits too. Each is written, read "
        f"back and measured on the test images; {format_count(len(missing), 'file')} to make.",
    ):
        for stage in missing:
            lab.queue.forget(stage.key)
        lab.queue.add(missing)
        st.rerun()


def draw_notes(frame: pd.DataFrame) -> None:
    """What is to be known of the files, folded away: it is of no other point."""
    if notes := int8_notes(frame):
        with st.expander("Notes on the int8 files"):
            for note in notes:
                st.caption(inline(note))


def left(lab: Lab, stages: list[Stage]) -> list[Stage]:
    """Those that are not there yet."""
    return [stage for stage in stages if not lab.store.exists(stage.key)]


@st.fragment(run_every=POLL_SECONDS)
def watch(lab: Lab, missing: list[Stage]) -> None:
    """How many are to come; the page is drawn anew as they come in."""
    keep_worker(lab)
    now = left(lab, missing)
    rows = [lab.queue.stage(stage.key) for stage in now]
    waiting = [row for row in rows if row and row.status in ACTIVE]
    if len(now) < len(missing) or not waiting:
        st.rerun()
    st.caption(f"{format_count(len(waiting), 'int8 file')} to come; the charts grow.")
