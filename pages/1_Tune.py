"""Tune: the settings of a comparison, and what it will give, before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from pages.components import choices, dry_run, facts, schedule, settings_file, tune_sections
from pages.components.dataset import without_list
from pages.components.goal import draw_goal
from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import inline
from pages.components.preview import Preview, draw_preview, preview_of, preview_without_plan
from pages.components.setting_sections import tab_of
from pages.components.setting_values import Reading, lacks_images, limited, spec_of
from pages.components.settings_form import Form, is_shown
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import recovery_notes
from pruning_core.planning.stage import Stage
from pruning_core.reports.charts.preview import preview_picture
from pruning_core.settings.messages import for_page, title
from pruning_core.settings.spec import Spec, describe
from pruning_core.worker.start import ensure_worker

# On a narrow screen Run and the main figures stay visible at the bottom, beside any slider.
STYLE = """
<style>
.st-key-figures [data-testid="stMetricValue"] {font-size: 1.15rem;}
@media (min-width: 641px) {.st-key-runbar > :has(.st-key-summary) {display: none;}}
@media (max-width: 640px) {
    [data-testid="stColumn"]:has(> div > div > .st-key-setup),
    [data-testid="stColumn"]:has(> div > div > .st-key-setup) > div {display: contents;}
    [data-testid="stColumn"]:has(.st-key-preview) {order: 1;}
    [data-testid="stLayoutWrapper"]:has(> .st-key-more) {order: 2;}
    .block-container {padding-bottom: 11rem;}
    .st-key-runbar {
        position: fixed; left: 0; right: 0; bottom: 0; z-index: 90; width: 100% !important;
        padding: 0.5rem 0.9rem; background: Canvas; color: CanvasText; flex-wrap: nowrap;
        border-top: 1px solid color-mix(in srgb, CanvasText 18%, transparent);
    }
    .st-key-summary p {font-size: 0.875rem; line-height: 1.3;}
}
</style>
"""
RUN_WIDTH = 160
BAD_LINK = "Part of this link is not valid:"
NO_IMAGES = (
    "Upload a .zip file, or enter the path of a folder. The layout is train/class/\\* and "
    "test/class/\\*, or class/\\*."
)


@dataclass(frozen=True)
class SettingsCheck:
    """What follows from the settings on the page.

    `spec` holds the last valid settings. `errors` are sentences on wrong settings, by name; an
    empty name is for those of no setting. `pending` are inspections that are not finished.
    `error` is why the settings cannot run although each of them is valid, and `inspections` are
    the stages that may have found it.
    """

    spec: Spec
    preview: Preview
    errors: dict[str, str] = field(default_factory=dict)
    lacks_images: bool = False
    pending: list[Stage] = field(default_factory=list)
    error: SpecError | None = None
    inspections: list[Stage] = field(default_factory=list)

    @property
    def runnable(self) -> bool:
        return not (self.errors or self.lacks_images)


def check_settings(lab: Lab, reading: Reading) -> SettingsCheck:
    """Inspect what the settings name, and plan the run."""
    spec = spec_of(reading.values)
    errors = {error.field: limited(for_page(error)) for error in reversed(reading.errors)}
    lacking = lacks_images(reading.values)
    preview, error = preview_without_plan(spec), None
    inspections: list[Stage] = []
    pending: list[Stage] = []
    if not lacking:
        try:
            inspections = [*facts.inspections(lab, spec), *dry_run.stages(lab, spec)]
            pending = facts.request(lab, inspections)
            preview = preview_of(lab, spec, plan(spec, lab.store))
        except SpecError as problem:
            error = problem
            errors.setdefault(problem.field, limited(for_page(without_list(problem))))
    return SettingsCheck(spec, preview, errors, lacking, pending, error, inspections)


def draw_problems(opening: str, problems: tuple[str, ...], box: Callable[[str], object]) -> None:
    """One box with a sentence for each problem."""
    sentences = [inline(problem) for problem in problems]
    if len(sentences) == 1:
        box(f"{opening} {sentences[0]}")
    elif sentences:
        box("\n".join([opening, "", *(f"- {sentence}" for sentence in sentences)]))


def draw_run(lab: Lab, check: SettingsCheck) -> None:
    """The button Run, and why it is disabled; on a narrow screen the main figures beside it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container():
            st.header("Main settings", anchor=False)
        with st.container(
            key="runbar", horizontal=True, vertical_alignment="center", width=RUN_WIDTH
        ):
            with st.container(key="summary", gap=None):
                picture = preview_picture(check.preview.series)
                st.image(picture, alt="Sparsity over the fine-tuning epochs.")
                st.markdown(inline(check.preview.summary))
            pressed = st.button(
                "Run",
                type="primary",
                width="stretch",
                key="run",
                disabled=not check.runnable,
                help="Starts the run in the background and opens Runs.",
            )
    draw_reasons(lab, check)
    if pressed and check.runnable:
        label = st.session_state[choices.RUN_NAME].strip() or describe(check.spec)
        job = lab.queue.submit(check.spec, label)
        ensure_worker(lab.cache)
        switch_page("Runs", {"job": job})


def draw_reasons(lab: Lab, check: SettingsCheck) -> None:
    """Why the settings cannot run: the fields with an error, and other errors as sentences."""
    if check.lacks_images:
        st.info(NO_IMAGES)
    drawn = [name for name in check.errors if is_drawn(name)]
    if drawn:
        st.error(f"This cannot run yet. Change {inline(join_words(map(title, drawn)))}.")
    for name, sentence in check.errors.items():
        if name not in drawn:
            tab = tab_of(name)
            st.error(
                f"This cannot run yet. {inline(sentence)}" + f" See the tab {tab}." * bool(tab)
            )
    if check.error:
        facts.draw_retry(lab, check.error, check.inspections)


def is_drawn(name: str) -> bool:
    """Whether the widget of a setting is drawn now, so that its error is told there."""
    if name not in choices.FIELDS or not is_shown(name):
        return False
    return tab_of(name) in ("", choices.ADDRESS["tab"])


def draw_notes(check: SettingsCheck) -> None:
    """What the settings imply, below the preview."""
    for note in recovery_notes(check.spec):
        st.caption(inline(note))
    if facts.downloads_needed(check.spec):
        st.caption("The run first downloads files that are not in the cache.")


def main() -> None:
    lab = open_page("Tune")
    st.html(STYLE)
    st.title("Set up a comparison", anchor=False)
    choices.draw_unconfirmed_paths(lab.queue.named_files)
    schedule.use_edited_table()
    choices.begin()
    reading = choices.collect()
    choices.store_values(reading.values)
    check = check_settings(lab, reading)
    draw_problems(BAD_LINK, choices.link_problems(), st.warning)
    draw_link_problems()
    form = Form(tune_sections.callbacks(), check.errors)
    setup_column, preview_column = st.columns([5, 6], gap="large")
    with setup_column:
        with st.container(border=True, key="setup"):
            draw_run(lab, check)
            tune_sections.draw_main(lab, check.spec, form)
        with st.container(key="more"):
            st.header("Other settings", anchor=False)
            tune_sections.draw_tabs(lab, check.spec, form, check.runnable)
    with preview_column, st.container(key="preview"):
        st.header("What you will get", anchor=False)
        draw_preview(lab, check.spec, check.preview, draw_goal(choices.ADDRESS))
        draw_notes(check)
        spec = check.spec if check.runnable else None
        settings_file.draw(spec, check.errors.get("label", ""))
    choices.keep_hidden()
    if check.pending:
        facts.wait_for(check.pending, lab)


main()
