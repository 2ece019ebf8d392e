"""The Guide: complete, without dead links, and with commands that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import guide_tables
from pages.components.guide_charts import guide_chart
from pages.components.guide_text import CHART, FOLDER, TOPICS, Section, find_link, slug, topics
from pages.components.links import PAGES
from pages.components.markdown import inline
from pruning_core.cli.main import parser
from pruning_core.methods.commands import COMMANDS
from pruning_core.methods.registry import Registry
from pruning_core.planning.presets import PRESETS
from pruning_core.results.glossary import glossary_rows
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.spec import Spec
from tests.helpers.pages import open_page, texts
from tests.helpers.project import ROOT

FIELDS = fields_of(Spec)
COMMAND = "python -m pruning_core "
CODE = re.compile(r"```bash\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)]+)\)")


def sections() -> list[Section]:
    return [section for topic in topics().values() for section in topic.sections]


def rendered() -> str:
    return "\n".join(section.markdown for section in sections())


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.md"))


def commands(start: str = COMMAND) -> Iterator[str]:
    """Each command of the Guide that starts in this way."""
    for path in files():
        for block in CODE.findall(path.read_text("utf-8")):
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.startswith(start))


def guide(**params: str) -> AppTest:
    test = open_page("pages/6_Guide.py", **params)
    assert not test.exception
    return test


@pytest.fixture(autouse=True)
def _cache(no_worker: None) -> None:
    """The pages see the test's cache, and start no process."""


def test_every_file_is_a_topic() -> None:
    assert sorted(TOPICS) == [path.stem for path in files()]


def test_headings_have_an_anchor_each() -> None:
    for topic in topics().values():
        anchors = [topic.name, *(section.slug for section in topic.sections[1:])]
        assert len(set(anchors)) == len(anchors)
        assert all(section.text for section in topic.sections[1:])


@pytest.mark.parametrize("name", sorted(guide_tables.registries()))
def test_every_method_is_in_the_guide(name: str) -> None:
    registry: Registry = guide_tables.registries()[name]
    table = guide_tables.table(name)
    assert table in rendered()
    for method in registry.values():
        assert f"`{method.name}`" in table
        assert inline(method.title) in table
        assert method.url in table


@pytest.mark.parametrize("field", FIELDS.values(), ids=list(FIELDS))
def test_every_setting_is_in_the_guide(field: Field) -> None:
    (row,) = [line for line in rendered().splitlines() if f"**{inline(field.title)}.**" in line]
    assert inline(field.about.help).strip() in row.replace("\\|", "|") or "|" in field.about.help
    assert field.flag is None or f"`{field.flag}`" in row
    assert guide_tables.default_text(field) in row
    for condition in field.conditions:
        assert condition.text in row


def test_defaults_and_values_are_those_of_the_command_line() -> None:
    shown = {
        name: (guide_tables.default_text(FIELDS[name]), guide_tables.values_text(FIELDS[name]))
        for name in (
            "data.image_size",
            "data.validation_split",
            "model.weights",
            "pruning.filter_norm",
            "one_shot.amounts",
            "iterative.enabled",
            "pruning.allocation",
        )
    }
    assert shown == {
        "data.image_size": ("`32`", "28 to 224"),
        "data.validation_split": ("`0.1`", "above 0, at most 0.5"),
        "model.weights": ("`none`", "`none`, `pretrained`, `PATH`"),
        "pruning.filter_norm": ("`2`", "`1`, `2`, `inf`"),
        "one_shot.amounts": ("`0,0.3,0.5,0.7,0.9`", "at least 0, below 1"),
        "iterative.enabled": ("on", "on, off"),
        "pruning.allocation": (
            "`uniform`",
            "`uniform`, `global`, `erk`, `lamp`, `custom`, `budget`",
        ),
    }


def test_presets_commands_and_terms_are_in_the_guide() -> None:
    text = rendered()
    for name in (*PRESETS, *COMMANDS):
        assert f"`{name}`" in text
    for row in glossary_rows():
        assert f"| **{inline(row['Term'])}** | {inline(row['Definition'])} |" in text


def test_every_placeholder_is_filled() -> None:
    assert "{{" not in CHART.sub("", rendered())
    for name in CHART.findall(rendered()):
        assert guide_chart(name).data
    with pytest.raises(KeyError):
        guide_tables.table("nonsense")


def test_tables_are_tables() -> None:
    """Every row of a table has the cells of its head, whatever the texts hold."""
    for line in rendered().splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    cells = [
        [len(re.findall(r"(?<!\\)\|", row)) for row in guide_tables.table(name).splitlines()]
        for name in guide_tables.registries()
    ]
    assert all(len(set(rows)) == 1 for rows in cells)


@pytest.mark.parametrize("section", sections(), ids=lambda s: f"{s.topic}-{s.slug}")
def test_every_link_leads_somewhere(section: Section) -> None:
    for target in LINK.findall(section.markdown):
        if target.startswith("#"):
            slugs = {one.slug for one in topics()[section.topic].sections}
            assert target[1:] in slugs | {section.topic}
        elif target.startswith("?"):
            params = dict(part.split("=") for part in target[1:].split("&"))
            assert find_link(params["topic"], params.get("section", ""))
        else:
            assert target.startswith("https://")


def test_links_between_files_hold_outside_the_app() -> None:
    """As on GitHub: to a file of the folder, and to one of its headings."""
    for path in files():
        for target in LINK.findall(path.read_text("utf-8")):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            text = (path.parent / name if name else path).read_text("utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            assert not anchor or anchor in map(slug, headings)


@pytest.mark.parametrize("command", list(commands()))
def test_commands_can_be_typed(command: str) -> None:
    try:
        parser().parse_args(shlex.split(command)[3:])
    except SystemExit as end:
        pytest.fail(f"{command} ends with {end.code}")


@pytest.mark.parametrize("command", list(commands("python -m tests.")))
def test_commands_of_the_tests_can_be_typed(command: str) -> None:
    module, *options = shlex.split(command)[2:]
    parsed = vars(import_module(module).parser().parse_args(options))
    names = [option.removeprefix("--").replace("-", "_") for option in options[::2]]
    assert [str(parsed[name]) for name in names] == options[1::2]


def test_one_topic_is_shown_with_a_way_to_all_others() -> None:
    test = guide()
    assert [header.value for header in test.header] == [topics()[TOPICS[0]].title]
    labels = [page_link.proto.label.strip("*") for page_link in test.get("page_link")]
    assert labels[len(PAGES) :] == [topic.title for topic in topics().values()]
    assert f"](#{topics()[TOPICS[0]].sections[1].slug})" in texts(test)


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_opens(topic: str) -> None:
    test = guide(topic=topic)
    assert [header.value for header in test.header] == [topics()[topic].title]
    assert [s.value for s in test.subheader] == [s.title for s in topics()[topic].sections[1:]]


@pytest.mark.parametrize(
    "params",
    [
        {"topic": "latency", "section": "runtimes"},
        {"section": "latency"},
        {"section": "interpretation-of-the-speed-up"},
    ],
)
def test_a_link_opens_its_section(params: dict[str, str]) -> None:
    test = guide(**params)
    assert [header.value for header in test.header] == ["Latency"]
    scripts = [
        block.proto.body for block in test.get("html") if "scrollIntoView" in block.proto.body
    ]
    section = params["section"] if params["section"] != "latency" else ""
    assert len(scripts) == bool(section)
    assert all(f'"{section}"' in script for script in scripts)


def test_a_link_to_nothing_is_said_and_the_beginning_is_shown() -> None:
    test = guide(topic="latency", section="<script>")
    assert "has no section" in test.warning[0].value
    assert [header.value for header in test.header] == [topics()[TOPICS[0]].title]
    assert "<script>" not in "".join(block.proto.body for block in test.get("html"))


def test_the_address_holds_the_topic_and_no_parameter_of_another_page() -> None:
    test = guide(topic="latency", image="svg", layer="x")
    assert test.query_params == {"topic": "latency"}
    assert not test.warning
    test.query_params["topic"] = "zzz"
    (warning,) = test.run().warning
    assert warning.value.replace("\\", "") == (
        "Part of this link is not valid. The Guide has no section 'zzz'. The page shows the "
        "beginning of the Guide instead."
    )
    assert test.run().warning, "it stays while nothing changes"
    test.query_params["topic"] = "latency"
    assert not test.run().warning
    assert [header.value for header in test.header] == ["Latency"]


def test_pages_link_to_sections_that_exist() -> None:
    """`guide_link` refuses others when a page is drawn, but not every page draws every link."""
    call = re.compile(r"(?:guide_link|header_with_guide)\(([^)]*)\)")
    links = 0
    for path in (ROOT / "pages").rglob("*.py"):
        for arguments in call.findall(path.read_text("utf-8")):
            names = re.findall(r'"([^"]*)"', arguments)
            if not names:
                continue
            topic, *section = [name for name in names if name == slug(name)]
            assert find_link(topic, section[0] if section else "")
            links += 1
    assert links >= 3
