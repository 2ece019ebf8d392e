"""The verdict card: which model meets the goal with its figures, or why there is no answer."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from pages.components.chart import draw_chart
from pages.components.copy_link import draw_copy_link
from pages.components.links import switch_page
from pages.components.markdown import plain
from pruning_core.reports.charts.verdict import chart_caption, verdict_chart
from pruning_core.results.verdict import MET, Verdict


def draw_verdict(
    verdict: Verdict, number: int, several: bool, color_by: str, runs: Mapping[str, int]
) -> None:
    """One card. `number` is its place among `several`.

    `color_by` and `runs` are those of `verdict_chart`.
    """
    with st.container(border=True):
        st.header(verdict.heading)
        if verdict.place:
            st.caption(plain(verdict.place[0].upper() + verdict.place[1:]))
        if not verdict.models:
            _draw_texts(verdict)
            _draw_buttons(verdict, number, several)
            return
        texts, chart = st.columns([6, 5], gap="medium")
        with texts:
            _draw_texts(verdict)
            _draw_buttons(verdict, number, several)
        with chart:
            caption = chart_caption(verdict)
            draw_chart(
                verdict_chart(verdict, color_by, runs),
                f"verdict {number}",
                alt=f"Accuracy against the size of the sparse file. {verdict.summary} {caption}",
            )
            st.caption(caption)


def _draw_texts(verdict: Verdict) -> None:
    if verdict.sentence:
        st.write(plain(verdict.sentence))
    if verdict.figures:
        with st.container(horizontal=True, gap="medium"):
            for figure in verdict.figures:
                st.metric(
                    figure.label,
                    plain(figure.value),
                    figure.change or None,
                    delta_color="off",
                    delta_arrow="off",
                    width="content",
                )
    for reason in verdict.reasons:
        st.write(plain(reason))
    for sentence in filter(None, (*verdict.nearest, verdict.basis)):
        st.caption(plain(sentence))
    for note in verdict.notes:
        st.caption(plain(note))


def _draw_buttons(verdict: Verdict, number: int, several: bool) -> None:
    """What one can do with the model, where there is one, and the link to the page."""
    # With several cards the buttons say which model they mean.
    which = f" of card {number + 1}" if several else ""
    with st.container(horizontal=True):
        if verdict.kind == MET:
            model = {"run": verdict.run_id, "model": verdict.key}
            if st.button(f"Export this model{which}", key=f"export {number}", type="primary"):
                switch_page("Export", model)
            if st.button(f"See its layers{which}", key=f"layers {number}"):
                switch_page("Layers", model)
        if number == 0:
            draw_copy_link()
