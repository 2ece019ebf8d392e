"""The text of the Guide: its topics and sections as Markdown, with tables and links filled in.

A topic is one file of `pages/guide`. Its title is the `#` heading, its sections begin with `##`
headings. A line `{{table: NAME}}` stands for a table of `guide_tables`, and `{{chart: NAME}}` for a
chart of `guide_charts`. Links between topics are written as in a repository,
`[text](latency.md#runtimes)`, so that the files can also be read there.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from pages.components.guide_tables import table

FOLDER = Path(__file__).resolve().parents[1] / "guide"
# The reading order.
TOPICS = (
    "pruning_methods",
    "recovery",
    "structured_pruning",
    "sensitivity",
    "metrics",
    "data_and_models",
    "export",
    "latency",
    "command_line",
    "several_machines",
    "recommended_preset",
    "fast_preset",
    "benchmarks",
    "architecture",
)
FENCE = "```"
CHART = re.compile(r"\{\{chart: (\w+)\}\}")
TABLE = re.compile(r"\{\{table: (\w+)\}\}")
LINK = re.compile(r"\]\((?:(\w+)\.md)?(?:#([\w-]+))?\)")


@dataclass(frozen=True)
class Section:
    """A section of a topic. The text before the first `##` heading has an empty `slug`."""

    topic: str
    slug: str
    title: str
    text: str

    @property
    def markdown(self) -> str:
        """The text with tables and links filled in; code stays as it is."""
        parts = self.text.split(FENCE)
        parts[::2] = [_filled(part, self.topic) for part in parts[::2]]
        return FENCE.join(parts)


@dataclass(frozen=True)
class Topic:
    """A file of the Guide. The first section is its introduction."""

    name: str
    title: str
    sections: tuple[Section, ...]


@functools.cache
def topics() -> dict[str, Topic]:
    """The topics of the Guide by name, in reading order."""
    return {name: parse(name, (FOLDER / f"{name}.md").read_text("utf-8")) for name in TOPICS}


def find(topic: str, section: str = "") -> Section:
    """A section by the name of its topic and its slug. Raises `KeyError`."""
    return {one.slug: one for one in topics()[topic].sections}[section]


def find_link(topic: str, section: str) -> Section | None:
    """The section that the parameters of a link name; None if there is none.

    Without parameters it is the beginning of the Guide. A section alone may be a topic, or a
    section of any topic.
    """
    if not topic and (not section or section in topics()):
        topic, section = section or TOPICS[0], ""
    names = [topic] if topic else list(topics())
    sections = [one for name in names if name in topics() for one in topics()[name].sections]
    return next((one for one in sections if one.slug == section), None)


def parse(name: str, text: str) -> Topic:
    """A topic from the text of its file."""
    title, _, body = text.removeprefix("# ").partition("\n")
    parts: list[tuple[str, list[str]]] = [(title, [])]
    in_code = False
    for line in body.splitlines():
        in_code ^= line.startswith(FENCE)
        if line.startswith("## ") and not in_code:
            parts.append((line.removeprefix("## "), []))
        else:
            parts[-1][1].append(line)
    sections = [
        Section(name, slug(heading) if i else "", heading, "\n".join(lines).strip())
        for i, (heading, lines) in enumerate(parts)
    ]
    return Topic(name, title, tuple(sections))


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading, so that links work there too."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _filled(text: str, topic: str) -> str:
    text = TABLE.sub(lambda match: table(match[1]), text)
    return LINK.sub(lambda match: _link(match, topic), text)


def _link(match: re.Match[str], topic: str) -> str:
    """A link within the topic, or to another topic. Raises `KeyError` if it leads nowhere."""
    section = find(match[1] or topic, match[2] or "")
    if section.topic == topic:
        return f"](#{section.slug or topic})"
    parameters = {"topic": section.topic, "section": section.slug}
    return f"](?{urlencode({name: value for name, value in parameters.items() if value})})"
