"""Bundles with changed claims, files and bytes, as verify.py reads them."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from pruning_core.engine.export.bundle import verify as verification
from pruning_core.engine.export.bundle.stage import module_file
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.storage.bundle import BUNDLE_FILE, bundle_stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.fuzzing.kinds import InputKind, edited, edits
from tests.fuzzing.specs import JSON_VALUES
from tests.helpers.stages import SMALL
from tests.helpers.workers import SHARED_VARIABLE, finished_run, serve

FORMAT = "bitmask_fp32"
# Statements about the machine are shown beside this one, and cannot be computed again.
STATED = ("computed_on", "versions")


@dataclass(frozen=True)
class ChangedBundle:
    """The files that differ from those of the genuine bundle; None where one is missing."""

    changed: dict[str, bytes | None]

    @property
    def files(self) -> dict[str, bytes]:
        files = {**genuine(), **self.changed}
        return {name: content for name, content in files.items() if content is not None}


@functools.cache
def genuine() -> dict[str, bytes]:
    """The files of a bundle of a small run."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault(SHARED_VARIABLE, f"{temporary}/shared")
        cache = finished_run(Path(temporary) / "run", SMALL)
        queue, store = Queue(cache.queue), Store(cache)
        job = queue.jobs()[0]
        model = Outline.from_json(job.outline).models[-1].key
        queue.add([export_stage(model, FORMAT)])
        serve(cache)
        stage = bundle_stage(job, model, FORMAT, store)
        queue.add([stage])
        serve(cache)
        with zipfile.ZipFile(store.file(stage.key, BUNDLE_FILE)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    sys.path += [str(module_file(name).parent) for name in FILE_FORMATS[FORMAT].modules]
    return files


@st.composite
def bundles(draw: DrawFn) -> ChangedBundle:
    """The files after up to two changes of claims, and up to one of the bytes of a file."""
    files = dict(genuine())
    manifest = json.loads(files[verification.MANIFEST])
    for _ in range(draw(st.integers(0, 2))):
        section, name = manifest, draw(st.sampled_from(sorted(manifest)))
        while isinstance(section[name], dict) and section[name] and draw(st.integers(0, 3)):
            section = section[name]
            name = draw(st.sampled_from(sorted(section)))
        section[name] = draw(_changed(section[name]))
        if not isinstance(manifest.get("files"), dict):
            break
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(files)))
        files[name] = edited(files[name], draw(edits(2)))
    listed = manifest.get("files")
    # Someone who changes a file may list the digest of what it holds now.
    if isinstance(listed, dict) and draw(st.booleans()):
        for name in set(listed) & set(files):
            digest = hashlib.sha256(files[name]).hexdigest()
            listed[name] = {"bytes": len(files[name]), "sha256": digest}
    text = json.dumps(manifest).encode()
    files[verification.MANIFEST] = edited(text, draw(edits(1)) if draw(st.booleans()) else [])
    changed: dict[str, bytes | None] = {
        name: content for name, content in files.items() if content != genuine()[name]
    }
    if draw(st.integers(0, 9)) == 0:
        changed[draw(st.sampled_from(sorted(files)))] = None
    return ChangedBundle(changed)


def _changed(value: Any) -> st.SearchStrategy[Any]:
    """Another value, often of the same type and close to it."""
    if isinstance(value, bool | None):
        return JSON_VALUES
    if isinstance(value, int | float):
        return st.sampled_from((value + 1, value - 1, value * 1.01, -value)) | JSON_VALUES
    if isinstance(value, str):
        return st.sampled_from((value + "0", value[1:], value.upper())) | JSON_VALUES
    if isinstance(value, list):
        return st.sampled_from((value[1:], value[::-1], value + value[:1])) | JSON_VALUES
    return JSON_VALUES


def attempt(example: ChangedBundle, folder: Path) -> str | None:
    """Verify the bundle. What passes makes the claims of the genuine bundle."""
    for name, content in example.files.items():
        (folder / name).write_bytes(content)
    try:
        verification.verify(folder, "")
    except (verification.Differs, verification.CannotVerify, OSError) as error:
        return verification.one_line(error)
    claims, made = (
        json.loads(files[verification.MANIFEST]) for files in (genuine(), example.files)
    )
    for name in (*STATED, "files"):
        claims.pop(name), made.pop(name)
    assert _rounded(made) == _rounded(claims)
    return None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, 5) if isinstance(value, float) else copy.copy(value)


BUNDLES = InputKind("bundles", bundles(), attempt, share=0.1, prepare=genuine)
