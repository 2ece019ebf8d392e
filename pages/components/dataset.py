"""An inspected data set on Tune: its classes, examples of the model input, broken images."""

from __future__ import annotations

import functools

import streamlit as st

from pages.components.choices import PREFIX
from pages.components.lab import Lab
from pages.components.markdown import inline
from pruning_core.common.errors import SpecError
from pruning_core.common.files import PLAIN_WEIGHTS
from pruning_core.common.formatting import format_count
from pruning_core.common.paths import Cache
from pruning_core.methods.datasets import DATASETS, RESIZE_METHODS, class_order, not_square_note
from pruning_core.planning.inspection_types import (
    ExampleImagesResult,
    InspectDatasetResult,
    example_file,
)
from pruning_core.planning.inspections import BrokenImages, example_images
from pruning_core.planning.stage import Missing, known
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store

CLASSES_SHOWN, BROKEN_SHOWN = 12, 5
IMAGE_WIDTH, CAPTION_CHARACTERS, TABLE_HEIGHT = 64, 16, 300
STYLE = """
<style>
.st-key-examples [data-testid="stImageContainer"] {padding-right: 6px;}
.st-key-examples img {image-rendering: RENDERING; border-radius: 2px;}
</style>
"""


def draw_dataset(lab: Lab, spec: Spec, facts: InspectDatasetResult) -> None:
    """The classes with their images, examples, notes, and the images that cannot be read."""
    train, test = sum(facts.train_counts), sum(facts.test_counts)
    classes = format_count(len(facts.classes), "class", "classes")
    st.caption(f"{classes}, {train:,} training images, {test:,} test images.")
    # Of data sets and models that are a user's own, their classes may be wrong.
    checkpoint = spec.model.weights not in PLAIN_WEIGHTS
    expanded = checkpoint or DATASETS[spec.data.name].user_images
    with st.expander("Classes and examples", expanded=expanded):
        _draw_classes(spec, facts)
        _draw_examples(lab, spec, facts)
    notes = list(facts.notes)
    if facts.not_square:
        notes.append(not_square_note(facts.not_square, spec.data.resize))
    if notes:
        st.caption("  \n".join(map(inline, notes)))
    if facts.left_out:
        _draw_files("All images that are left out", facts.left_out)
    if facts.broken:
        _draw_broken(facts.broken)


def _draw_classes(spec: Spec, facts: InspectDatasetResult) -> None:
    """The order of the classes and the images of each; all of many classes in a table."""
    must = (
        "" if spec.model.weights in PLAIN_WEIGHTS else " The checkpoint must have the same order."
    )
    order = class_order(facts.classes, CLASSES_SHOWN)
    lines = (_class_counts(facts), f"Order of the classes: {order}.{must}")
    st.caption("  \n".join(map(inline, lines)))
    if len(facts.classes) > CLASSES_SHOWN:
        columns = zip(facts.classes, facts.train_counts, facts.test_counts, strict=True)
        rows = [
            {"Output": output, "Class": name, "Training images": train, "Test images": test}
            for output, (name, train, test) in enumerate(columns)
        ]
        st.dataframe(rows, hide_index=True, key="classes", height=TABLE_HEIGHT)


def _class_counts(facts: InspectDatasetResult) -> str:
    """The images of each class: one sentence where all have as many, else the first classes."""
    counts = list(zip(facts.train_counts, facts.test_counts, strict=True))
    if len(set(counts)) == 1:
        train, test = counts[0]
        return f"Each class has {train:,} training and {test:,} test images."
    parts = [
        f"{name}: {train:,} + {test:,}"
        for name, (train, test) in zip(facts.classes, counts, strict=True)
    ]
    more = len(parts) - CLASSES_SHOWN
    others = f" and {more:,} more" if more > 0 else ""
    return f"Training + test images: {', '.join(parts[:CLASSES_SHOWN])}{others}."


def _draw_examples(lab: Lab, spec: Spec, facts: InspectDatasetResult) -> None:
    """Training images after the resize, each with its class."""
    key = example_images(spec, facts).key
    result = known(lab.store, key, ExampleImagesResult)
    images = _example_files(lab.cache, key, len(result.labels)) if result else ()
    if not result or not images:
        return
    size = f"{spec.data.image_size} x {spec.data.image_size} pixels"
    user_images = DATASETS[spec.data.name].user_images
    resize = f", {RESIZE_METHODS[spec.data.resize].title.lower()}" if user_images else ""
    st.caption(f"Examples of the model input, from the training images ({size}{resize}):")
    with st.container(key="examples"):
        # A browser would blur small images, and hide how little the model sees.
        small = spec.data.image_size < IMAGE_WIDTH
        st.html(STYLE.replace("RENDERING", "pixelated" if small else "auto"))
        names = [facts.classes[label] for label in result.labels]
        alts = [f"{file}, class {name}" for file, name in zip(result.names, names, strict=True)]
        st.image(list(images), caption=[*map(_caption, names)], width=IMAGE_WIDTH, alt=alts)


def _caption(name: str) -> str:
    """The name of a class under an image."""
    long = len(name) > CAPTION_CHARACTERS
    return inline(f"{name[: CAPTION_CHARACTERS - 3]}..." if long else name)


@functools.lru_cache(maxsize=16)
def _stored_files(cache: Cache, key: str, count: int) -> tuple[bytes, ...]:
    store = Store(cache)
    return tuple(store.content(key, example_file(number)) for number in range(count))


def _example_files(cache: Cache, key: str, count: int) -> tuple[bytes, ...]:
    """The files of the examples; none where one is damaged, and the worker makes them again."""
    try:
        return _stored_files(cache, key, count)
    except Missing:
        return ()


def without_list(error: SpecError) -> SpecError:
    """The error for a page; of broken images without their names, which the page lists below."""
    if not isinstance(error, BrokenImages):
        return error
    return SpecError(
        error.field,
        "{number} cannot be read. Leave out, replace or remove the files that are listed below.",
        number=format_count(error.count, "image"),
    )


def _draw_broken(broken: dict[str, str]) -> None:
    """The images that cannot be read, and a button that leaves them out."""
    number = format_count(len(broken), "image")
    st.markdown(f"**{number} cannot be read:**")
    first = list(broken.items())[:BROKEN_SHOWN]
    st.markdown("\n".join(f"- {inline(name)}: {inline(reason)}" for name, reason in first))
    if len(broken) > BROKEN_SHOWN:
        _draw_files(f"All {number} that cannot be read", broken)
    st.button(
        "Leave out this image" if len(broken) == 1 else f"Leave out these {number}",
        key="leave out broken",
        on_click=st.session_state.update,
        args=({f"{PREFIX}data.leave_out_broken": True},),
        help="The run uses only the other images. No file is deleted. You can also replace or "
        "remove the files yourself.",
    )


def _draw_files(title: str, files: dict[str, str]) -> None:
    """A table of files with the reason why each cannot be read."""
    with st.expander(title):
        rows = [{"File": name, "Reason": reason} for name, reason in files.items()]
        st.dataframe(rows, hide_index=True, key=title)
