"""What a run will give: the sizes, the epochs, the time, and the chart of all its trainings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st

from pages.components import address
from pages.components.address import Visit
from pages.components.chart import draw_chart
from pages.components.lab import Lab
from pages.components.markdown import inline
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import (
    epoch_number,
    format_bytes,
    format_count,
    format_epochs,
    format_percent,
    trimmed,
)
from pruning_core.methods.layers import Layer
from pruning_core.planning.estimate import Estimate, estimate, estimate_text
from pruning_core.planning.inspections import model_facts
from pruning_core.planning.preview import (
    TrainingSeries,
    Work,
    measured_accuracies,
    smallest_model,
    training_epochs,
    training_series,
    work,
)
from pruning_core.planning.size_estimate import ExpectedSize, expected_size, sparsity_for
from pruning_core.planning.stage import Plan
from pruning_core.reports.charts.preview import NeededSparsity, preview_chart
from pruning_core.results.goal import Goal
from pruning_core.settings.spec import Spec

SHOWN = "preview"  # the key of the session: the visit, and the last two previews


@dataclass(frozen=True)
class Preview:
    """What follows from settings. `smallest` is None until the model is inspected."""

    series: tuple[TrainingSeries, ...]
    smallest: ExpectedSize | None
    work: Work
    time: Estimate | None
    complete: bool

    @property
    def summary(self) -> str:
        """The figures in one line, for the bar of a narrow screen."""
        size = [f"about {format_bytes(self.smallest.bytes)}"] if self.smallest else []
        return ", ".join([*size, format_epochs(self.work.epochs), estimate_text(self.time)])


def preview_of(lab: Lab, spec: Spec, run_plan: Plan) -> Preview:
    """The preview of a spec with its plan, which may be incomplete."""
    return Preview(
        tuple(training_series(spec, measured_accuracies(run_plan, lab.store))),
        smallest_model(spec, lab.store),
        work(spec, run_plan, lab.store),
        estimate(spec, run_plan, lab.store, lab.store.cores),
        run_plan.complete,
    )


def preview_without_plan(spec: Spec) -> Preview:
    """The preview of a spec that cannot be planned: its series and epochs only."""
    epochs = training_epochs(spec)
    return Preview(tuple(training_series(spec, {})), None, Work(epochs, 0, 0), None, complete=False)


def draw_preview(lab: Lab, spec: Spec, preview: Preview, goal: Goal) -> None:
    """The four figures with their change, and the chart with the state before the change."""
    previous = _previous(preview)
    _draw_figures(preview, previous)
    needed, note = _needed(lab, spec, preview, goal)
    figure = preview_chart(preview.series, previous.series if previous else (), needed)
    draw_chart(figure, "preview", numbers="sparsity and learning rate")
    measured = any(step.accuracy is not None for series in preview.series for step in series.steps)
    st.caption(
        " ".join(
            [
                "Each marker is a model.",
                *(
                    ["Filled markers: already computed, with the test accuracy."]
                    if measured
                    else []
                ),
                *(["Grey: before the last change."] if previous else []),
            ]
        )
    )
    if note:
        st.info(inline(note))


def _previous(preview: Preview) -> Preview | None:
    """The preview before the last change in this visit; None before the first change."""
    visit: Visit = st.session_state[address.VISIT]
    shown_visit, previous, last = st.session_state.get(SHOWN, (None, None, None))
    if shown_visit is not visit:
        previous, last = None, None
    if last is not None and _unmeasured(last) != _unmeasured(preview):
        previous = last
    st.session_state[SHOWN] = (visit, previous, preview)
    return previous


def _unmeasured(preview: Preview) -> tuple[TrainingSeries, ...]:
    """The series without results, which change while nobody changes a setting."""
    return tuple(
        replace(series, steps=tuple(replace(step, accuracy=None) for step in series.steps))
        for series in preview.series
    )


def _draw_figures(preview: Preview, previous: Preview | None) -> None:
    """Size, non-zero weights, epochs and time."""
    smallest, smallest_before = preview.smallest, previous.smallest if previous else None
    with st.container(horizontal=True, key="figures"):
        _metric(
            "Smallest model",
            f"about {format_bytes(smallest.bytes)}" if smallest else "not known yet",
            _change(smallest.bytes, smallest_before.bytes, format_bytes)
            if smallest and smallest_before
            else "",
            "The expected size of the sparse file of the smallest model. It follows from the sizes "
            "of the layers and the masks. The measured size differs by a few percent.",
        )
        _metric(
            "Non-zero weights",
            format_percent(smallest.nonzero / smallest.parameters) if smallest else "not known yet",
            _change(smallest.nonzero, smallest_before.nonzero, _thousands)
            if smallest and smallest_before
            else "",
            f"{smallest.nonzero:,} of {smallest.parameters:,} parameters of the smallest model are "
            "not zero."
            if smallest
            else "The share of the parameters of the smallest model that are not zero.",
        )
        _metric(
            "Total epochs",
            epoch_number(preview.work.epochs),
            _change(preview.work.epochs, previous.work.epochs, epoch_number) if previous else "",
            "Training epochs of the baseline and of all models, for all seeds. Finished stages are "
            "not trained again.",
        )
        _metric(
            "Time",
            "instant" if _is_instant(preview) else estimate_text(preview.time),
            _time_change(preview, previous),
            "The remaining time on the cores that train. It follows from the speed of finished "
            "stages of this run, or from a short trial of the model.",
        )
    if preview.complete:
        stages = format_count(preview.work.stages, "stage")
        st.caption(f"Already computed: {preview.work.done} of {stages}.")


def _metric(label: str, value: str, change: str, help_text: str) -> None:
    st.metric(
        label,
        value,
        change or None,
        delta_color="off",
        delta_arrow="off",
        help=help_text,
        width="content",
    )


def _change(now: float, before: float, write: Callable[[float], str]) -> str:
    """The change with its sign; empty where there is none."""
    text = write(abs(now - before))
    return "" if now == before else f"{'+' if now > before else '−'}{text}"


def _thousands(number: float) -> str:
    return f"{number / 1000:,.0f} k" if number >= 1000 else f"{number:,.0f}"


def _time_change(preview: Preview, previous: Preview | None) -> str:
    if previous is None or estimate_text(previous.time) == estimate_text(preview.time):
        return ""
    return f"was {'instant' if _is_instant(previous) else estimate_text(previous.time)}"


def _is_instant(preview: Preview) -> bool:
    """Whether everything is computed already."""
    return preview.complete and preview.work.done == preview.work.stages


def _needed(
    lab: Lab, spec: Spec, preview: Preview, goal: Goal
) -> tuple[NeededSparsity | None, str]:
    """The sparsity that the size of the goal needs; a sentence where no sparsity is enough."""
    if goal.max_bytes is None or preview.smallest is None:
        return None, ""
    limit = format_bytes(goal.max_bytes)
    facts = model_facts(spec, lab.store)
    assert facts is not None  # the smallest model was computed from them
    layers = [Layer(**layer) for layer in facts.layers]
    try:
        sparsity = sparsity_for(spec, layers, facts.parameters, goal.max_bytes)
        if sparsity is not None:
            text = f"{limit} needs<br>about {trimmed(100 * sparsity, 1)} %"
            return NeededSparsity(sparsity, text), ""
        least = expected_size(spec, layers, facts.parameters, 0.999).bytes
    except SpecError:
        # The minimum density, or a table of sparsities, refuses so high a sparsity.
        return None, f"These settings cannot reach {limit}: some layers keep too many weights."
    return None, (
        f"No sparsity reaches {limit}: at 99.9 % the file has about {format_bytes(least)}. Choose "
        "a smaller model, or prune more layers."
    )
