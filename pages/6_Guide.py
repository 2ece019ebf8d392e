"""Guide: the documentation, one topic at a time.

`?topic=latency&section=runtimes` opens a section, `?section=latency` a topic.
"""

from __future__ import annotations

import json

import streamlit as st

from pages.components.address import Address, Parameter
from pages.components.chart import draw_chart
from pages.components.guide_charts import guide_chart
from pages.components.guide_text import CHART, Section, Topic, find_link, topics
from pages.components.links import link
from pages.components.number_lists import quoted
from pages.components.shell import draw_link_problems, open_page

ADDRESS = Address("Guide", Parameter("topic"), Parameter("section"))
STYLE = """
<style>
.st-key-guide {max-width: 54rem;}
.st-key-guide h2 {font-size: 1.4rem !important;}
.st-key-guide h3 {font-size: 1.1rem !important; padding: 0.9rem 0 0.4rem 0 !important;}
.st-key-guide h2, .st-key-guide h3 {scroll-margin-top: 4rem;}
.st-key-guide table {font-size: 0.875rem;}
.st-key-guide div:has(> table) {max-width: 100%; overflow-x: auto;}
.st-key-guide td {vertical-align: top;}
.st-key-guide td:first-child, .st-key-guide td:first-child code {white-space: nowrap;}
.st-key-contents {gap: 0.25rem;}
.st-key-contents a {background: transparent !important; padding: 0 !important;}
.st-key-contents a p:not(:has(strong)) {font-weight: 400 !important;}
.st-key-contents ul {margin: 0 0 0.6rem 0; padding-left: 0.9rem;}
.st-key-contents li {font-size: 0.875rem; list-style: none; margin: 0; padding: 0.1rem 0;}
@media (max-width: 640px) {
    .st-key-guide table {min-width: 36rem;}
    .st-key-contents {flex-direction: row; flex-wrap: wrap; column-gap: 0.9rem;}
    .st-key-contents > div {width: auto !important; flex: none !important;}
    .st-key-contents > div:has(li) {display: none;}
}
</style>
"""
# The heading is drawn after the browser has opened the address, so a script waits for it.
SCROLL = """
<script>
(() => {
    const id = %s;
    let tries = 0;
    const timer = setInterval(() => {
        const heading = document.getElementById(id);
        if (heading) heading.scrollIntoView();
        if (++tries > 20) clearInterval(timer);
    }, 100);
    for (const event of ["wheel", "touchstart", "keydown", "mousedown"])
        window.addEventListener(event, () => clearInterval(timer), {once: true});
})();
</script>
"""


def linked_section() -> Section:
    """The section that the address names, else the first of the Guide."""
    given: dict[str, str] = st.query_params.to_dict()
    # The page has no controls, so an earlier address of the visit is a link, too.
    if given != ADDRESS.texts():
        ADDRESS.read(given)
    topic, section = ADDRESS["topic"] or "", ADDRESS["section"] or ""
    linked = find_link(topic, section)
    if linked is None:
        problem = f"The Guide has no section {quoted(section or topic)}."
        ADDRESS.reject(problem, "the beginning of the Guide")
    # A link within the page changes the parameters, but not the address in the browser. The
    # parameters of another page are dropped.
    st.query_params.from_dict(ADDRESS.texts())
    draw_link_problems()
    return linked or next(iter(topics().values())).sections[0]


def draw_contents(shown: str) -> None:
    """Links to all topics, and to the sections of the topic that is shown."""
    for topic in topics().values():
        link(
            "Guide", f"**{topic.title}**" if topic.name == shown else topic.title, topic=topic.name
        )
        if topic.name == shown:
            st.markdown("\n".join(f"- [{s.title}](#{s.slug})" for s in topic.sections[1:]))


def draw_topic(topic: Topic) -> None:
    """The introduction and the sections of a topic."""
    st.header(topic.title, anchor=topic.name)
    introduction, *sections = topic.sections
    st.markdown(introduction.markdown)
    for section in sections:
        st.subheader(section.title, anchor=section.slug)
        text, *charts = CHART.split(section.markdown)
        st.markdown(text)
        for name, text in zip(charts[::2], charts[1::2], strict=True):
            draw_chart(guide_chart(name), name, numbers=name)
            st.markdown(text)


def main() -> None:
    open_page("Guide")
    st.html(STYLE)
    st.title("Guide")
    section = linked_section()
    contents, text = st.columns([1, 3], gap="large")
    with contents, st.container(key="contents"):
        draw_contents(section.topic)
    with text, st.container(key="guide"):
        draw_topic(topics()[section.topic])
        if section.slug:
            st.html(SCROLL % json.dumps(section.slug), unsafe_allow_javascript=True)


main()
