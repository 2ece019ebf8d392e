"""Run stages from a page: the button, the progress, the failures, and the page drawn again.

Every result that a page computes on demand uses `run_stage`: exported files, latency, break-even
sparsity, reproducibility bundles, predictions, mask overlap, sensitivity analysis and int8 files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from pages.components.facts import ask, explain
from pages.components.lab import Lab
from pages.components.live import keep_worker
from pages.components.markdown import inline
from pruning_core.common.formatting import join_words
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_progress import fraction
from pruning_core.storage.job_record import Job, job_id
from pruning_core.storage.stage_queue import Row

POLL_SECONDS = 2.0
PENDING = ("queued", "running")
# Many short stages: drawing the page for each of them would disturb the reader.
REDRAWS = 20
Namer = Callable[[Stage], str]


def run_stage(
    lab: Lab,
    stages: Sequence[Stage],
    label: str,
    *,
    busy: str,
    help: str = "",
    name: Namer | None = None,
    job: Spec | None = None,
    at_once: bool = False,
    primary: bool = False,
) -> list[Stage]:
    """Offer to run stages, show their progress and failures. Returns the finished stages.

    A button with `label` and `help` queues the missing stages. With `at_once` they are requested
    without a click, and do not start any more once the page is closed. While they wait or run, a
    text shows the progress, and the page is drawn again as stages finish. A failure shows its
    reason and a button to retry.

    `busy` begins the progress text, such as "Exporting". `name` names a stage in this text and
    in failures; without it, failures name the kind. With `job` the stages are queued as the job
    of this spec: it appears on Runs, and its results are kept when the cache is cleaned.
    """
    finished = [stage for stage in stages if lab.store.exists(stage.key)]
    missing = _missing(lab, stages)
    if not missing:
        return finished
    rows = _rows(lab, missing)
    failed = _draw_failures(lab, missing, rows, name, job)
    if at_once and not failed:
        if not ask(lab, missing) or _pending(lab, _rows(lab, missing), job):
            _watch(lab, stages, len(missing), busy, name, job, at_once)
    elif _pending(lab, rows, job):
        _watch(lab, stages, len(missing), busy, name, job)
    else:
        _draw_button(lab, missing, "Retry" if failed == len(missing) else label, help, primary, job)
    return finished


def _missing(lab: Lab, stages: Sequence[Stage]) -> list[Stage]:
    return [stage for stage in stages if not lab.store.exists(stage.key)]


def _rows(lab: Lab, stages: Sequence[Stage]) -> dict[str, Row]:
    """The rows of stages that are in the queue, by key."""
    return {stage.key: row for stage in stages if (row := lab.queue.stage(stage.key))}


def _job_of(lab: Lab, spec: Spec | None) -> Job | None:
    return lab.queue.job(job_id(spec)) if spec else None


def _pending(lab: Lab, rows: dict[str, Row], spec: Spec | None) -> bool:
    """Whether a stage waits or runs, or the worker still plans the job."""
    job = _job_of(lab, spec)
    planning = job is not None and job.status == "planning"
    return planning or any(row.status in PENDING for row in rows.values())


def _queue(lab: Lab, stages: Sequence[Stage], spec: Spec | None) -> None:
    """Queue stages, also those that failed, were cancelled, or have gone from the store."""
    if spec:
        lab.queue.submit(spec, spec.label)
        return
    for stage in stages:
        lab.queue.forget(stage.key)
    lab.queue.add(stages)


def _draw_button(
    lab: Lab, missing: Sequence[Stage], label: str, help: str, primary: bool, job: Spec | None
) -> None:
    key = f"run {missing[0].kind} {missing[0].parent}"
    if st.button(label, key=key, type="primary" if primary else "secondary", help=help or None):
        _queue(lab, missing, job)
        st.rerun()


def _draw_failures(
    lab: Lab, missing: Sequence[Stage], rows: dict[str, Row], name: Namer | None, spec: Spec | None
) -> int:
    """Say why stages failed, each reason once. Returns how many failed."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for stage in missing:
        row = rows.get(stage.key)
        if row and row.status == "failed":
            title = name(stage) if name else STAGE_KINDS[stage.kind].title
            reasons.setdefault((row.field, row.error), []).append(title)
    for (field, error), titles in reasons.items():
        st.error(f"{inline(join_words(dict.fromkeys(titles)))} failed. {_reason(field, error)}")
        if "Traceback" in error:
            st.expander("Traceback").code(error)
    failed = sum(len(titles) for titles in reasons.values())
    job = _job_of(lab, spec)
    if job and job.error:
        st.error(_reason(job.field, job.error))
        return len(missing)
    return failed


def _reason(field: str, error: str) -> str:
    return inline(explain(field, error))


@st.fragment(run_every=POLL_SECONDS)
def _watch(
    lab: Lab,
    stages: Sequence[Stage],
    missing_before: int,
    busy: str,
    name: Namer | None,
    job: Spec | None,
    at_once: bool = False,
) -> None:
    """The progress of pending stages. It draws the page again as they finish.

    With `at_once` it renews the page's request.
    """
    keep_worker(lab)
    missing = _missing(lab, stages)
    waiting = bool(missing) and at_once and not ask(lab, missing)
    rows = _rows(lab, missing)
    new = missing_before - len(missing)
    ended = not missing or not (waiting or _pending(lab, rows, job))
    if ended or new > len(stages) // REDRAWS:
        st.rerun()
    text = progress_text(missing, rows, busy, name)
    with st.container(key=f"progress {stages[0].key}"):
        if len(stages) == 1:
            st.caption(text)
            return
        running = len(rows) * fraction(list(rows.values()))
        share = (len(stages) - len(missing) + running) / len(stages)
        st.progress(min(share, 1.0), text=text)


def progress_text(
    missing: Sequence[Stage], rows: dict[str, Row], busy: str, name: Namer | None = None
) -> str:
    """What is being done, such as "Exporting Dense + zlib and Dense + LZMA; 9 left."."""
    running = [s for s in missing if s.key in rows and rows[s.key].status == "running"]
    count = f"; {len(missing):,} left" if len(missing) > 1 else ""
    if not running:
        timed = any(STAGE_KINDS[stage.kind].timed for stage in missing)
        return f"Queued{' until the machine is idle' if timed else ''}{count}."
    if name:
        return f"{busy} {inline(join_words(dict.fromkeys(map(name, running))))}{count}."
    messages = [rows[stage.key].progress.get("message", "") for stage in running]
    message = inline(" ".join(dict.fromkeys(filter(None, messages))))
    return f"{busy}{count}: {message}" if message else f"{busy}{count} ..."
