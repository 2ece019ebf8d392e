"""The predictions of the dense and the pruned model for one image."""

from __future__ import annotations

import base64
import re

import numpy as np
import streamlit as st

from pages.components.address import Address, Parameter
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.markdown import inline, plain
from pages.components.run_stage import run_stage
from pages.components.uploads import store_upload
from pruning_core.common.formatting import format_count, format_percent
from pruning_core.methods.datasets import IMAGE_FORMATS
from pruning_core.planning.exports import predict_image, predict_test_image
from pruning_core.planning.measurement_types import PredictResult
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import Outline, PlannedModel, Stage, read_result
from pruning_core.results.predictions import predictions_table
from pruning_core.storage.job_record import Job

TYPES = [suffix[1:] for suffixes in IMAGE_FORMATS.values() for suffix in suffixes]
WHOLE = re.compile(r"-?[0-9]{1,15}")


def _read_number(text: str) -> int:
    """The number of a test image, in range or not. Raises `ValueError` with a sentence."""
    if not WHOLE.fullmatch(text):
        raise ValueError("use a whole number from 0 on")
    return int(text)


IMAGE = Parameter("image", 0, _read_number)  # its range depends on the data set
MODELS = {"dense": "Dense baseline", "point": "This model"}


def draw_predictions(lab: Lab, job: Job, model: PlannedModel, address: Address) -> None:
    """The section: an image to choose, and both predictions side by side."""
    header_with_guide("Predict an image", "export", "predict-an-image")
    stage = _chosen_image(lab, job, model, address)
    if stage and run_stage(lab, [stage], "Predict", busy="Running both models", at_once=True):
        _draw_predictions(read_result(lab.store, stage.key, PredictResult))


def _chosen_image(lab: Lab, job: Job, model: PlannedModel, address: Address) -> Stage | None:
    """The stage that predicts an uploaded image, else a test image."""
    dense = Outline.from_json(job.outline).dense_of(model).key
    upload_column, number_column = st.columns(2)
    with upload_column:
        file = st.file_uploader(
            "Your image",
            TYPES,
            key="own image",
            help="The image is resized like the images of the run. It stays on this computer.",
        )
    with number_column:
        count = read_result(lab.store, model.key, ModelResult).test_images
        if not 0 <= address["image"] < count:
            if address.given("image"):  # else a model with more test images was shown before
                address.reject(
                    f"There is no test image {address['image']}. The test set has "
                    f"{format_count(count, 'image')}, with the numbers 0 to {count - 1:,}.",
                    "image 0",
                )
            address["image"] = 0
        number = st.number_input(
            "Test image number",
            0,
            count - 1,
            address["image"],
            key=address.key("image"),
            help=f"0 to {count - 1:,}. Used if you upload no image.",
            disabled=file is not None,
        )
    if file is None:
        return predict_test_image(dense, model.key, int(number))
    if upload := store_upload(lab, file):
        digest, path = upload
        return predict_image(dense, model.key, digest, str(path))
    return None


def _draw_predictions(result: PredictResult) -> None:
    """The model input, (S, S, 3) in 8 bits, and the most likely classes of each model."""
    size = result.size
    pixels = np.frombuffer(base64.b64decode(result.pixels), np.uint8).reshape(size, size, 3)
    image_column, *model_columns = st.columns([1, 2, 2])
    with image_column:
        label = result.label  # unknown for an upload
        st.image(
            pixels,
            width=144,
            caption=f"True label: {inline(label)}" if label else "Model input",
            alt="The image after the resize, as both models receive it.",
        )
    for column, (name, title) in zip(model_columns, MODELS.items(), strict=True):
        prediction = result.predictions[name]
        top_class, confidence = prediction["probabilities"][0]
        with column:
            st.metric(title, plain(top_class), width="content")
            st.caption(
                f"{format_percent(confidence)} confidence, {prediction['milliseconds']:.1f} ms "
                "(eager PyTorch, batch size 1, 1 thread)"
            )
            with st.container(key=f"predictions of {title}"):  # names the buttons of the table
                st.dataframe(predictions_table(prediction), hide_index=True)
