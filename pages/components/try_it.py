"""An image dropped or picked, and what the dense and the pruned model say to it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import streamlit as st

from pages.components.facts import explain, inline
from pages.components.live import keep_worker
from pages.components.shell import Lab, plain
from pages.components.uploads import kept
from pruning_core.common.formatting import format_percent
from pruning_core.planning.exports import ask_image, ask_test_image
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.results.predictions import told
from pruning_core.storage.jobs import Job

POLL_SECONDS = 1.0
TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "gif"]
NAMES = {"dense": "Dense", "point": "This model"}


def draw(lab: Lab, job: Job, point: PlannedModel) -> None:
    """Both answers side by side."""
    st.header("Try it")
    dense = Outline.from_json(job.outline).dense_of(point).key
    left, right = st.columns(2)
    with left:
        file = st.file_uploader(
            "Your image", TYPES, key="try file", help="Stays on this computer. It is cut square."
        )
    with right:
        count = lab.store.read(point.key)["test_images"]
        number = st.number_input(
            "or a test image",
            0,
            count - 1,
            0,
            key="try number",
            help=f"Test images are numbered from 0 to {count - 1:,}.",
            disabled=file is not None,
        )
    if file is None:
        _answer(lab, ask_test_image(dense, point.key, int(number)))
    elif found := kept(lab, file):
        digest, path = found
        _answer(lab, ask_image(dense, point.key, digest, str(path)))


def _answer(lab: Lab, stage: Stage) -> None:
    if lab.store.exists(stage.key):
        _draw_answers(lab.store.read(stage.key))
        return
    row = lab.queue.stage(stage.key)
    if row and row.status == "failed":
        st.error(plain(explain(row.field, row.error)))
        return
    if row is None or row.status not in ("queued", "running"):
        lab.queue.add([stage])
    _wait(lab, stage)


def _draw_answers(found: dict[str, Any]) -> None:
    size = found["size"]
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(size, size, 3)
    picture, *columns = st.columns([1, 2, 2])
    with picture:
        label = f"It is: {inline(found['label'])}" if found["label"] else "As the models see it"
        st.image(pixels, width=144, caption=label)
    for column, (name, title) in zip(columns, NAMES.items(), strict=True):
        answer = found["predictions"][name]
        best, share = answer["probabilities"][0]
        with column:
            st.metric(title, plain(best), width="content")
            st.caption(
                f"{format_percent(share)} sure, {answer['milliseconds']:.1f} ms (eager PyTorch, "
                "one image, one thread)"
            )
            st.dataframe(told(answer), hide_index=True)


@st.fragment(run_every=POLL_SECONDS)
def _wait(lab: Lab, stage: Stage) -> None:
    keep_worker(lab)
    row = lab.queue.stage(stage.key)
    if lab.store.exists(stage.key) or (row and row.status == "failed"):
        st.rerun()
    st.caption("The models look at it.")
