"""The passport of one of a model's files: chosen, packed, downloaded."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from pages.components.facts import explain, inline
from pages.components.live import keep_worker
from pages.components.shell import Lab, plain
from pruning_core.common.formatting import format_bytes
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.results.exported_files import not_offered
from pruning_core.storage.bundle import BUNDLE_FORMATS, bundle_stage
from pruning_core.storage.jobs import Job

POLL_SECONDS = 2.0
DEFAULT = "onnx"


def draw(lab: Lab, job: Job, point: PlannedModel, frame: pd.DataFrame) -> None:
    """One zip with a file and all that proves what is said of it."""
    st.header("Passport")
    st.caption(
        "One zip: the file, the class names, how images are prepared, the spec that makes it "
        "again, versions, the results, the answer to each test image, the test images where they "
        "fit 20 MB, and verify.py, which checks all of it in an environment without this project."
    )
    fit = {row["format"] for row in frame.to_dict("records") if not not_offered(row)}
    there = [name for name in BUNDLE_FORMATS if name in fit]
    name = st.selectbox(
        "File",
        there,
        index=there.index(DEFAULT) if DEFAULT in there else 0,
        format_func=lambda name: FILE_FORMATS[name].title,
        key="bundle",
        width=280,
        help="The file that the passport is for. To check an ONNX file, verify.py needs only "
        "numpy and onnxruntime.",
    )
    if name:
        _draw_one(lab, bundle_stage(job, point.key, name, lab.store))


def _draw_one(lab: Lab, stage: Stage) -> None:
    if lab.store.exists(stage.key):
        _offer(lab, stage)
        return
    row = lab.queue.stage(stage.key)
    if row and row.status in ("queued", "running"):
        _watch(lab, stage)
        return
    if row and row.status == "failed":
        st.error(plain(explain(row.field, row.error)))
    if st.button("Pack the passport", help="Takes a few seconds."):
        lab.queue.forget(stage.key)
        lab.queue.add([stage])
        st.rerun()


def _offer(lab: Lab, stage: Stage) -> None:
    found = lab.store.read(stage.key)
    with st.container(horizontal=True):
        _save(lab, stage, f"Passport ({format_bytes(found['bytes'])})", found["file"])
        if not found["images_inside"]:
            _save(lab, stage, "Test images", found["images"])
    for note in found["notes"]:
        st.caption(inline(note))


def _save(lab: Lab, stage: Stage, label: str, name: str) -> None:
    read = functools.partial(lab.store.content, stage.key, name)
    st.download_button(label, read, name, on_click="ignore", key=f"save {name}")


@st.fragment(run_every=POLL_SECONDS)
def _watch(lab: Lab, stage: Stage) -> None:
    keep_worker(lab)
    row = lab.queue.stage(stage.key)
    if lab.store.exists(stage.key) or not row or row.status not in ("queued", "running"):
        st.rerun()
    st.caption("The worker packs it.")
