"""The controls of the pages that a random walk sets: how each is set, and what follows from it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

POLL, TRIES = 200, 150
ROW_HEIGHT = 35  # of a table of Streamlit, in pixels
TAB = "tab: "  # begins the labels of controls in a tab
ANY = None  # instead of a value: the page decides what the control shows
EMPTY = "(empty)"  # what a control with no tag shows
# The popovers of Runs whose controls the address holds.
POPOVERS = ("Filters", "Sort and columns")

Setter = Callable[["Page", str, random.Random], str | None]


@dataclass(frozen=True)
class Control:
    """A control that a step may set.

    `implied` are the labels of controls whose values may follow from it. With `hides` it may show
    and hide others, which keep their values. Without `always` it is not drawn on each visit. One
    in a `popover` is drawn while that is open. A `visit` is an entry of the browser's history.
    """

    label: str
    set: Setter
    implied: tuple[str, ...] = ()
    hides: bool = False
    always: bool = True
    popover: str = ""
    visit: bool = False

    @property
    def name(self) -> str:
        """The label that a person reads."""
        return self.label.removeprefix(TAB)


def _fields(page: Page, label: str) -> Locator:
    return page.locator(f'input[aria-label="{label}"]')


def _field(page: Page, label: str) -> Locator:
    # While a page is drawn anew, a control may stand in it twice for a moment.
    return _fields(page, label).first


def slide(page: Page, label: str, draw: random.Random) -> str:
    """Move a slider by up to four steps. Returns the value that it then shows."""
    slider = _field(page, label)
    slider.focus()
    key = draw.choice(("ArrowLeft", "ArrowRight"))
    for _ in range(draw.randint(1, 4)):
        slider.press(key)
    return slider.input_value()


def typed(*texts: str) -> Setter:
    """A function that types one of these texts into a field."""

    def type_text(page: Page, label: str, draw: random.Random) -> str:
        text = draw.choice(texts)
        field = _field(page, label)
        field.fill(text)
        field.press("Enter")
        return text

    return type_text


def number(*texts: str) -> Setter:
    """A function that types one of these numbers into a field, or empties it."""

    def type_number(page: Page, label: str, draw: random.Random) -> str | None:
        # A field that needs a number decides what it shows instead of none.
        return typed("", *texts)(page, label, draw) or ANY

    return type_number


def open_list(page: Page, label: str) -> Locator:
    """Open the list of a box. Returns its options."""
    box = page.get_by_role("combobox", name=label, exact=True)
    options = page.get_by_role("option").filter(has_not_text="No results")
    box.click()
    for _ in range(TRIES):
        if options.count():
            return options
        page.wait_for_timeout(POLL)  # a redraw of the page may have closed the list
        box.press("ArrowDown")
    raise AssertionError(f"the list of {label} does not open")


def select(page: Page, label: str, draw: random.Random) -> str:
    """Choose any option of a select box. Returns it."""
    options = open_list(page, label)
    text = options.nth(draw.randrange(options.count())).inner_text().strip()
    choose(page, label, text)
    return text


def one_of(*texts: str) -> Setter:
    """A function that chooses one of these options of a select box."""

    def select_one(page: Page, label: str, draw: random.Random) -> str:
        text = draw.choice(texts)
        choose(page, label, text)
        return text

    return select_one


def choose(page: Page, label: str, text: str) -> None:
    """Choose an option of a select box, whose list may be open."""
    option = page.get_by_role("option", name=text, exact=True)
    if not option.count():
        open_list(page, label)
    for _ in range(TRIES):
        if option.count():
            break
        page.wait_for_timeout(POLL)
        page.get_by_role("combobox", name=label, exact=True).press("ArrowDown")
    while option.count():  # a redraw between pressing and releasing the button loses the click
        option.first.click()
        page.wait_for_timeout(POLL)


def some(least: int = 0) -> Setter:
    """A function that adds or removes an option of a multiselect with at least so many."""

    def add_or_remove(page: Page, label: str, draw: random.Random) -> str:
        box = page.locator('[data-testid="stMultiSelect"]', has=_fields(page, label)).first
        tags = box.locator(".react-aria-ComboBox [data-tag]")
        chosen = [tag.get_attribute("aria-label") or "" for tag in tags.all()]
        options = page.get_by_role("option").filter(
            has_not_text=re.compile("No results|Select all")
        )
        adds = len(chosen) <= least or draw.random() < 0.5
        if adds:
            _field(page, label).click()
            page.wait_for_timeout(2 * POLL)
            adds = bool(options.count())
        if adds:
            text = options.nth(draw.randrange(options.count())).inner_text().strip()
            choose(page, label, text)
            chosen.append(text)
            page.keyboard.press("Escape")  # an open list hides the rest from assistive software
        elif len(chosen) > least:
            position = draw.randrange(len(chosen))
            tags.nth(position).locator("button").click()
            del chosen[position]
        return ", ".join(chosen) or EMPTY

    return add_or_remove


def press_one(page: Page, label: str, draw: random.Random) -> str:
    """Choose any button of a group. Returns its text."""
    group = page.locator(f'[role=radiogroup][aria-label="{label}"]')
    buttons = group.locator("[role=radio], label:has(input)")
    button = buttons.nth(draw.randrange(buttons.count()))
    text = button.inner_text().strip()
    button.click()
    return text


def toggle(page: Page, label: str, draw: random.Random) -> str:
    """Click a checkbox. Returns whether it is then checked."""
    box = _field(page, label)
    before = box.is_checked()
    page.locator("label", has=_fields(page, label)).first.click()
    return str(not before).lower()


def open_tab(page: Page, label: str, draw: random.Random) -> str | None:
    """Open any tab. Returns its title."""
    tabs = page.get_by_role("tab")
    tab = tabs.nth(draw.randrange(tabs.count()))
    return tab_named(tab.inner_text().strip())(page, label, draw)


def tab_named(title: str) -> Setter:
    """A function that opens the tab with this title."""

    def open_one(page: Page, label: str, draw: random.Random) -> str:
        page.get_by_role("tab", name=title, exact=True).click()
        return title

    return open_one


def open_topic(page: Page, label: str, draw: random.Random) -> str:
    """Open another topic of the Guide. Returns its title."""
    shown = page.locator("h2").first.inner_text().strip()
    links = page.locator('.st-key-contents [data-testid="stPageLink"] a')
    others = [link for link in links.all() if link.inner_text().strip() != shown]
    link = draw.choice(others)
    title = link.inner_text().strip()
    link.click()
    return title


def _any_row(page: Page, draw: random.Random) -> tuple[Locator, int]:
    """The table of runs, and the number of any of its rows."""
    table = page.locator('.st-key-runs [data-testid="stDataFrame"]')
    # The rows are drawn as an image, and stand in a table for screen readers, too.
    return table, draw.randrange(table.locator("tbody tr").count())


def _click_row(page: Page, table: Locator, x: int, row: int, done: Callable[[], bool]) -> None:
    """Click a row, and once more if it was not `done` then.

    After a popover was open, the table loses the first click.
    """
    for _ in range(2):
        table.click(position={"x": x, "y": ROW_HEIGHT * (row + 1.5)})
        for _ in range(TRIES // 5):
            if done():
                return
            page.wait_for_timeout(POLL)


def open_run(page: Page, label: str, draw: random.Random) -> str | None:
    """Open any run of the list. Returns its name."""
    table, row = _any_row(page, draw)
    titles = table.locator("thead th").all_text_contents()
    cells = table.locator("tbody tr").nth(row).locator("td")
    name = cells.nth(titles.index("Name")).text_content() if "Name" in titles else ""
    name, heading = (name or "").strip(), page.locator("h2").first
    _click_row(page, table, 150, row, lambda: heading.inner_text().startswith(name))
    return name or ANY


def tick(page: Page, label: str, draw: random.Random) -> str | None:
    """Tick or untick any run of the list."""
    table, row = _any_row(page, draw)
    line = table.locator("tbody tr").nth(row)
    before = line.get_attribute("aria-selected")
    _click_row(page, table, 16, row, lambda: line.get_attribute("aria-selected") != before)
    return ANY


def _tab(name: str, set: Setter, *implied: str) -> Control:
    """A control in a tab of Tune."""
    return Control(TAB + name, set, implied, hides=True, always=False)


def _popover(popover: str, name: str, set: Setter, *implied: str) -> Control:
    """A control in a popover of Runs; the list follows it."""
    return Control(name, set, ("rows", "ticked", "selected", *implied), popover=popover)


LIST = ("rows", "ticked", "selected")
ITERATIVE = ("Target sparsity", "Pruning steps", "Fine-tuning epochs per step")
MODELS = ("Model", "First model", "Layer", "Second model", "Sparsity")
RUNS = (
    *("Color by", "Run of the model", "Model, in order of sparsity"),
    *("Reference", "Test at target sparsity"),
)
CONTROLS = {
    "Home": (),
    "Guide": (Control("topic", open_topic, visit=True),),
    "Tune": (
        Control(
            "Data set",
            one_of("Digits (bundled)", "MNIST", "Your own images"),
            (f"{TAB}Data augmentation",),
            hides=True,
        ),
        Control("Model", one_of("mobilenet_v2", "resnet18", "mobilenet_v3_small"), hides=True),
        Control("Initial weights", select, hides=True),
        Control("Pruning steps", slide, always=False),
        Control("Target sparsity", slide, always=False),
        Control("Fine-tuning epochs per step", slide, always=False),
        Control("Fine-tuning epochs (one-shot)", slide, always=False),
        Control("Max. size (MB)", typed("", "0.5", "3")),
        Control("One-shot sparsity levels", typed("0, 50 %", "0, 20, 60 %", "10 %")),
        Control("Baseline epochs", number("0", "3", "12"), hides=True),
        Control("Seeds", typed("0", "0, 1", "4")),
        Control("Name of the run", typed("", "Mine", "Ours, 2")),
        Control("tab", open_tab, hides=True),
        Control("tab", open_tab, hides=True),
        _tab("Pruning criterion", select),
        _tab(
            "Granularity",
            select,
            "One-shot sparsity levels",
            f"{TAB}Sparsity allocation",
            f"{TAB}Iterative pruning",
            *ITERATIVE,
        ),
        _tab("Sparsity allocation", one_of("Uniform", "Global", "ERK", "LAMP")),
        _tab("Minimum density per layer", slide),
        _tab("Prunable layers", select),
        _tab("Excluded layers", typed("", "classifier.1.weight", "*.0.0.weight")),
        _tab("Iterative pruning", toggle),
        _tab("Sparsity schedule", select, *ITERATIVE, f"{TAB}Custom schedule"),
        _tab("Custom schedule", typed("30, 60 %", "20, 50, 80 %"), *ITERATIVE),
        _tab("Final fine-tuning epochs", slide),
        _tab("One-shot, equal training budget", toggle),
        _tab("Optimizer", select, f"{TAB}Learning rate"),
        _tab("Learning rate", number("0.1", "0.003")),
        _tab("Learning-rate schedule", select),
        _tab("Learning-rate schedule span", select),
        _tab("Warm-up", number("0", "0.5")),
        _tab("Recovery method", select, f"{TAB}Rewind epoch"),
        _tab("Distillation weight", slide),
        _tab("Training-free correction", toggle),
        _tab("Momentum", number("0", "0.5")),
        _tab("Batch size", number("8", "64")),
        _tab("Structured pruning (channel removal)", toggle),
        _tab("Channel importance", select),
        _tab("Training images", typed("", "500", "all")),
        _tab("Data augmentation", select),
        _tab("Baseline optimizer", select, f"{TAB}Baseline learning rate"),
        _tab("Split seed", number("1", "7")),
        _tab("Sensitivity analysis", toggle),
        _tab("Precision", select),
    ),
    "Runs": (
        Control("run", open_run, ("Seed",)),
        Control("run", open_run, ("Seed",)),
        Control("ticked", tick, ("selected",)),
        Control("ticked", tick, ("selected",)),
        Control("Search", typed("", "run", "First"), LIST),
        Control("Seed", press_one, always=False),
        _popover("Filters", "State", select),
        _popover("Filters", "Tag", select),
        _popover("Filters", "Show", select, "Tag", "Data set", "Model"),
        _popover("Filters", "Starred only", toggle),
        _popover("Sort and columns", "Sort by", select),
        _popover("Sort and columns", "Reverse order", toggle),
        _popover("Sort and columns", "Columns", some()),
        _popover("Sort and columns", "Max. size (MB)", typed("", "0.5", "3")),
    ),
    "Compare": (
        Control(
            "Runs",
            some(1),
            RUNS,
        ),
        Control("Max. accuracy drop (points)", typed("", "1", "2.5")),
        Control("X axis", select),
        Control("Reference", select),
        Control("Color by", press_one, always=False),
        Control("Image format", press_one),
        Control("Test at target sparsity", select),
        Control("Run of the model", select, ("Model, in order of sparsity",), always=False),
        Control("Model, in order of sparsity", slide),
    ),
    "Layers": (
        Control("Allocate by", press_one, hides=True),
        Control("Budget", select, hides=True, always=False),
        Control("File size (limit)", typed("", "0.9 MB", "800 kB"), always=False),
        Control("Overall sparsity", slide, always=False),
        Control("Also after least squares", toggle, always=False),
        Control("Sparsity", slide),
        Control("Layer", select, ("Sparsity",)),
        Control("Run", select, MODELS),
        Control("Model", select, ("Sparsity",)),
        Control("Unit (sensitivity)", press_one, hides=True),
        Control("First model", select),
        Control("Compare with run", select, ("Second model",)),
        Control("Second model", select),
    ),
    "Export": (
        Control("Max. accuracy drop (points)", typed("", "1", "2.5")),
        Control("Max. size (MB)", typed("", "0.5", "3")),
        Control("Test image number", number("0", "3", "7")),
        Control("Input resolution", select),
        Control("Run", select, ("Model", "Also benchmark")),
        Control("Model", select, ("Also benchmark",)),
        Control("Also benchmark", some()),
        Control("Batch size", some()),
        Control("Threads", some()),
    ),
}
