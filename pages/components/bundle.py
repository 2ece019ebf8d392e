"""The reproducibility bundle of one of a model's files: choose, create, download."""

from __future__ import annotations

import functools

import pandas as pd
import streamlit as st

from pages.components.address import Address
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline
from pages.components.number_lists import quoted
from pages.components.run_stage import run_stage
from pruning_core.common.formatting import format_bytes
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.measurement_types import BundleResult
from pruning_core.planning.stage import PlannedModel, Stage, read_result
from pruning_core.results.exported_files import why_not_offered
from pruning_core.storage.bundle import BUNDLE_FORMATS, bundle_stage
from pruning_core.storage.job_record import Job

DEFAULT_FORMAT = "onnx"
NO_FILE = "no file of this model is exported that can be in a bundle"


def draw_bundle(
    lab: Lab, job: Job, model: PlannedModel, files: pd.DataFrame, address: Address
) -> None:
    """The section: a zip with one of the `files` of a model and everything to check it."""
    header_with_guide("Reproducibility bundle", "export", "reproducibility-bundle")
    st.caption(
        "A zip with the model file, class names, preprocessing, settings, versions, processor, "
        "results, the prediction for each test image, the test images (up to 20 MB), and "
        "verify.py. verify.py checks all of it without Pruning Lab."
    )
    offered = {row["format"] for row in files.to_dict("records") if not why_not_offered(row)}
    formats = [name for name in BUNDLE_FORMATS if name in offered]
    if not formats:
        address.leave_out(NO_FILE, "bundle")
        return
    preferred = DEFAULT_FORMAT if DEFAULT_FORMAT in formats else formats[0]
    if address["bundle"] not in ("", *formats):
        if address.given("bundle"):
            title, shown = (FILE_FORMATS[name].title for name in (address["bundle"], preferred))
            problem = f"The file {quoted(title)} is not exported, so it has no bundle."
            address.reject(problem, f"the bundle of {quoted(shown)}")
        address["bundle"] = ""
    # Until a file is chosen, the preferred format is, which may be exported later than others.
    widget = f"bundle {preferred}"

    def choose() -> None:
        address["bundle"] = st.session_state[widget]

    name = st.selectbox(
        "File",
        formats,
        index=formats.index(address["bundle"] or preferred),
        format_func=lambda name: FILE_FORMATS[name].title,
        key=widget,
        on_change=choose,
        width=280,
        help="The model file in the bundle. For an ONNX file, verify.py needs numpy and "
        "onnxruntime only.",
    )
    stage = bundle_stage(job, model.key, name, lab.store)
    if run_stage(
        lab, [stage], "Create bundle", busy="Creating the bundle", help="Takes a few seconds."
    ):
        _draw_downloads(lab, stage)


def _draw_downloads(lab: Lab, stage: Stage) -> None:
    """The zip, and the test images where they are a file of their own."""
    result = read_result(lab.store, stage.key, BundleResult)
    with st.container(horizontal=True):
        _draw_download(lab, stage, f"Bundle ({format_bytes(result.bytes)})", result.file)
        if not result.images_inside:
            _draw_download(lab, stage, "Test images", result.images)
    for note in result.notes:
        st.caption(inline(note))


def _draw_download(lab: Lab, stage: Stage, label: str, name: str) -> None:
    content = functools.partial(lab.store.content, stage.key, name)
    st.download_button(label, content, name, on_click="ignore", key=f"download {name}")
