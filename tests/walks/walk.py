"""A random walk through the pages in a browser, and the state that each page must show.

A step sets a control, opens a page, goes Back or Forward, reloads, or opens the address in a
second tab, sometimes while the worker is stopped. After each step every control of the page must
show the value of the model, and no control may have shown any other value in between.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.components.links import WITH_GOAL
from pruning_core.common.paths import Cache
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SLOW, POLL, RESTS = 90_000, 200, 4
ROW_HEIGHT = 35  # of a table of Streamlit, in pixels
# What every control of the page shows, by its label; the heading names the run on Runs.
SNAPSHOT = """() => {
    const shown = {};
    const main = document.querySelector('[data-testid="stMain"]');
    if (!main) return shown;
    for (const input of main.querySelectorAll('input[aria-label]:not([type=file])')) {
        const tags = input.closest('[data-testid="stMultiSelect"]');
        const inTab = input.closest('[data-testid="stTabs"]') ? 'tab: ' : '';
        shown[inTab + input.ariaLabel] = input.type === 'checkbox' ? String(input.checked)
            : tags ? [...tags.querySelectorAll('[data-baseweb="tag"] span[title], [role="option"]')]
                .map(tag => tag.title || tag.textContent).join(', ') : input.value;
    }
    for (const group of main.querySelectorAll('[role=radiogroup]')) {
        const chosen = group.querySelector('[aria-checked=true], label:has(input:checked)');
        shown[group.ariaLabel || 'group'] = chosen ? chosen.innerText.trim() : '';
    }
    const tab = main.querySelector('[role=tab][aria-selected=true]');
    if (tab) shown.tab = tab.innerText.trim();
    const title = main.querySelector('h1'), run = main.querySelector('h2');
    if (title) shown.title = title.innerText.trim();
    if (shown.title === 'Runs' && run) shown.run = run.innerText.trim();
    return shown;
}"""
# All values that each control has shown since `window.seen` was emptied. A text field of Streamlit
# is empty until its first effect has run, which sends nothing to the server.
RECORDER = f"""
window.seen = {{}};
window.snapshot = {SNAPSHOT};
setInterval(() => {{
    for (const [label, value] of Object.entries(window.snapshot()))
        if (value !== '') (window.seen[label] ??= new Set()).add(value);
}}, 15);
"""
SEEN = "() => Object.fromEntries(Object.entries(window.seen).map(([k, v]) => [k, [...v]]))"
SETTLED = """() => document.querySelector('[data-testid="stApp"]')
    ?.getAttribute('data-test-script-state') === 'notRunning'"""

Snapshot = dict[str, str]
TAB = "tab: "  # begins the labels of controls in a tab


class Violation(AssertionError):
    """A page has shown, or shows, a value that is not the state's."""


@dataclass(frozen=True)
class Control:
    """A control that a step may set; `implied` are the labels of controls that may follow."""

    label: str
    set: Callable[[Page, str, random.Random], str]
    implied: tuple[str, ...] = ()


def _field(page: Page, label: str) -> Locator:
    return page.locator(f'input[aria-label="{label}"]')


def slide(page: Page, label: str, draw: random.Random) -> str:
    """Move a slider by up to four steps. Returns the value that it then shows."""
    slider = _field(page, label)
    slider.focus()
    key = draw.choice(("ArrowLeft", "ArrowRight"))
    for _ in range(draw.randint(1, 4)):
        slider.press(key)
    return slider.input_value()


def typed(*texts: str) -> Callable[[Page, str, random.Random], str]:
    """A function that types one of these texts into a field."""

    def type_text(page: Page, label: str, draw: random.Random) -> str:
        text = draw.choice(texts)
        field = _field(page, label)
        field.fill(text)
        field.press("Enter")
        return text

    return type_text


def select(page: Page, label: str, draw: random.Random) -> str:
    """Choose any option of a select box. Returns it."""
    box, options = page.get_by_role("combobox", name=label, exact=True), page.get_by_role("option")
    box.click()
    while not options.count():  # a redraw of the page may have closed the list
        page.wait_for_timeout(POLL)
        box.press("ArrowDown")
    option = options.nth(draw.randrange(options.count()))
    text = option.inner_text().strip()
    choose(page, label, text)
    return text


def choose(page: Page, label: str, text: str) -> None:
    """Choose an option of a select box, whose list may be open."""
    box = page.get_by_role("combobox", name=label, exact=True)
    option = page.get_by_role("option", name=text, exact=True)
    if not option.count():
        box.click()
    while not option.count():  # a redraw of the page may have closed the list
        page.wait_for_timeout(POLL)
        box.press("ArrowDown")
    while option.count():  # a redraw between pressing and releasing the button loses the click
        option.first.click()
        page.wait_for_timeout(POLL)


def toggle(page: Page, label: str, draw: random.Random) -> str:
    """Click a checkbox. Returns whether it is then checked."""
    box = _field(page, label)
    before = box.is_checked()
    page.locator("label", has=_field(page, label)).first.click()
    return str(not before).lower()


def open_tab(page: Page, label: str, draw: random.Random) -> str:
    """Open any tab. Returns its title."""
    tabs = page.get_by_role("tab")
    tab = tabs.nth(draw.randrange(tabs.count()))
    title = tab.inner_text().strip()
    tab.click()
    return title


def open_run(page: Page, label: str, draw: random.Random) -> str:
    """Open any run of the list. Returns the heading of the page."""
    table = page.locator('.st-key-runs [data-testid="stDataFrame"]')
    # The rows are drawn as an image, and stand in a table for screen readers, too.
    rows = table.locator("tbody tr")
    row = draw.randrange(rows.count())
    name = (rows.nth(row).locator("td").nth(1).text_content() or "").strip()
    table.click(position={"x": 150, "y": ROW_HEIGHT * (row + 1.5)})
    return name


CONTROLS = {
    "Home": (),
    "Guide": (),
    "Tune": (
        Control("Pruning steps", slide),
        Control("Target sparsity", slide),
        Control("Fine-tuning epochs per step", slide),
        Control("Max. size (MB)", typed("", "0.5", "3")),
        Control("One-shot sparsity levels", typed("0, 50 %", "0, 20, 60 %", "10 %")),
        Control("Baseline epochs", typed("0", "3", "12")),
        Control("Seeds", typed("0", "0, 1", "4")),
        Control("tab", open_tab),
    ),
    "Runs": (
        Control("run", open_run, ("Stage",)),
        Control("Search", typed("", "run", "First")),
    ),
    "Compare": (
        Control("Max. accuracy drop (points)", typed("", "1", "2.5")),
        Control("X axis", select),
        Control("Reference", select),
        Control("Test at target sparsity", select),
        Control("Model, in order of sparsity", slide),
    ),
    "Layers": (
        Control("Overall sparsity", slide),
        Control("Sparsity", slide),
        Control("Layer", select, ("Sparsity",)),
        Control("Run", select, ("Model", "First model", "Layer", "Second model", "Sparsity")),
    ),
    "Export": (
        Control("Max. accuracy drop (points)", typed("", "1", "2.5")),
        Control("Max. size (MB)", typed("", "0.5", "3")),
        Control("Test image number", typed("0", "3", "7")),
        Control("Input resolution", select),
        Control("Run", select, ("Model", "Also benchmark")),
    ),
}
PAGES = list(CONTROLS)
# The goal is the session's: a link to one of these pages takes it along, from whichever page it was
# set on. In a new session it is that of the address, else the default.
GOAL = {"Max. accuracy drop (points)": "1", "Max. size (MB)": ""}
STEPS = ("set", "set", "set", "open", "open", "back", "forward", "reload", "second tab")


@dataclass
class Entry:
    """An entry of the browser's history: a page and what its controls show."""

    page: str
    shown: Snapshot
    goal: Snapshot


class Walk:
    """One tab of a browser, and the model of its history."""

    def __init__(self, browser: Browser, url: str, cache: Cache, seed: int) -> None:
        self.draw, self.url, self.cache = random.Random(seed), url, cache
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.add_init_script(RECORDER)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.entries: list[Entry] = []
        self.index = -1
        self.visited: dict[str, Snapshot] = {}
        self.goal = dict(GOAL)
        self.counts: Counter[str] = Counter()
        self.steps: list[str] = []

    def run(self, steps: int) -> None:
        """Make so many steps. Raises `Violation`."""
        self._start("Tune")
        while len(self.steps) < steps:
            kind = self.draw.choice(STEPS)
            with self._worker_stopped() if self.draw.random() < 0.2 else _nothing():
                getattr(self, f"_{kind.replace(' ', '_')}")()

    def _start(self, name: str) -> None:
        self.page.goto(f"{self.url}/{name}")
        self._arrive(name, None)

    def _set(self) -> None:
        controls = CONTROLS[self._entry.page]
        if not controls:
            return self._open()
        control = self.draw.choice(controls)
        before = self._entry.shown
        if control.label not in before:
            return None
        self._note(f"set {control.label}")
        value = control.set(self.page, control.label, self.draw)
        after = self._settle(
            lambda shown: (
                shown.get(control.label, "").startswith(value)
                and _same(shown, before, (control.label, *control.implied))
                and (control.label == "tab" or _agree(_tab_of(shown), _tab_of(before)))
            ),
            f"{control.label} = {value!r} and the rest of {before}",
        )
        self._check_seen(before, after, (control.label,))
        self._entry.shown = self.visited[self._entry.page] = after
        self.goal = self._entry.goal = _with(self.goal, after)
        return None

    def _open(self) -> None:
        name = self.draw.choice([one for one in PAGES if one != self._entry.page])
        self._note(f"open {name}")
        self.page.get_by_role("link", name=name, exact=True).first.click()
        del self.entries[self.index + 1 :]
        self._arrive(name, self.visited.get(name))

    def _arrive(self, name: str, visited: Snapshot | None) -> None:
        before = self.entries[self.index].shown if self.entries else {}
        expected = None if visited is None else _with(visited, self.goal)
        title = {"Tune": "Set up a comparison", "Home": "Pruning Lab"}.get(name, name)
        labels = {"title", *(control.label for control in CONTROLS[name])}
        shown = self._settle(
            lambda now: (
                now.get("title") == title
                and labels <= set(now)
                and (expected is None or now == expected)
            ),
            f"{name} with {expected or labels}",
        )
        self._check_seen(before, shown)
        self.goal = _with(self.goal, shown)
        self.entries.append(Entry(name, shown, self.goal))
        self.index = len(self.entries) - 1
        self.visited[name] = shown

    def _back(self) -> None:
        self._travel("go_back", -1)

    def _forward(self) -> None:
        self._travel("go_forward", 1)

    def _travel(self, method: str, by: int) -> None:
        if not 0 <= self.index + by < len(self.entries):
            return
        before = self._entry.shown
        self.index += by
        self._note(f"{method} to {self._entry.page}")
        getattr(self.page, method)(wait_until="commit")
        self._expect_entry(before)
        self.visited[self._entry.page] = self._entry.shown
        if self._entry.page in WITH_GOAL:
            self.goal = self._entry.goal

    def _reload(self) -> None:
        self._note("reload")
        self.page.reload()
        self._expect_entry({})
        self.visited = {self._entry.page: self._entry.shown}
        self.goal = self._entry.goal if self._entry.page in WITH_GOAL else dict(GOAL)

    def _second_tab(self) -> None:
        self._note("second tab")
        first, self.page = self.page, self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.page.goto(first.url)
        self._expect_entry({})
        self.page.close()
        self.page = first

    @property
    def _entry(self) -> Entry:
        return self.entries[self.index]

    def _note(self, text: str) -> None:
        self.steps.append(text)
        self.counts[text.split()[0]] += 1
        self.page.evaluate("window.seen = {}")

    def _expect_entry(self, before: Snapshot) -> None:
        entry = self._entry
        shown = self._settle(lambda now: now == entry.shown, f"{entry.page} with {entry.shown}")
        self._check_seen(before, shown)

    def _settle(self, holds: Callable[[Snapshot], bool], wanted: str) -> Snapshot:
        """Wait until the page rests, shows no other values, and `holds`. Returns what it shows."""
        last: Snapshot = {}
        rests = 0
        for _ in range(SLOW // POLL):
            shown: Snapshot = self.page.evaluate("() => window.snapshot()")
            quiet = self.page.evaluate(SETTLED) and shown == last and holds(shown)
            rests, last = (rests + 1 if quiet else 0), shown
            if rests == RESTS:
                return shown
            self.page.wait_for_timeout(POLL)
        differing = f"{self.page.url} shows {last}; expected {wanted}"
        raise Violation(f"{self.steps[-12:]}: {differing}.")

    def _check_seen(self, before: Snapshot, after: Snapshot, moving: tuple[str, ...] = ()) -> None:
        """No control has shown a value that is neither the last nor the next one."""
        seen: dict[str, list[str]] = self.page.evaluate(SEEN)
        for label, values in seen.items():
            allowed = {before.get(label), after.get(label)}
            if label not in moving and (other := [v for v in values if v not in allowed]):
                raise Violation(
                    f"{self.steps[-12:]}: {label} has shown {other}, allowed {allowed}."
                )

    @contextmanager
    def _worker_stopped(self) -> Iterator[None]:
        """The worker does nothing meanwhile."""
        worker: dict[str, Any] | None = WorkerRecord(self.cache.queue).current()
        if worker:
            # With the lock, so that the worker does not hold it while it is stopped.
            with Queue(self.cache.queue)._write():
                os.kill(worker["pid"], signal.SIGSTOP)
                _wait_until_stopped(worker["pid"])
            self.counts["worker stopped"] += 1
        try:
            yield
        finally:
            if worker:
                os.kill(worker["pid"], signal.SIGCONT)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _wait_until_stopped(pid: int) -> None:
    """Wait until the signal has arrived: until then a process still runs, and may take a lock."""
    state = ""
    while state not in ("T", "Z"):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _tab_of(shown: Snapshot) -> Snapshot:
    """What the controls of the open tab show."""
    return {label: value for label, value in shown.items() if label.startswith(TAB)}


def _agree(shown: Snapshot, before: Snapshot) -> bool:
    """Whether the controls of both have the same values. A choice may show or hide another one."""
    return all(shown[label] == before[label] for label in shown.keys() & before.keys())


def _with(values: Snapshot, others: Snapshot) -> Snapshot:
    """The values, those of them that are in `others` replaced."""
    return {label: others.get(label, value) for label, value in values.items()}


def _same(shown: Snapshot, before: Snapshot, but: tuple[str, ...]) -> bool:
    """Whether two snapshots are equal but for these labels and those of tabs."""
    labels = {label for label in {*shown, *before} - set(but) if not label.startswith(TAB)}
    return all(shown.get(label) == before.get(label) for label in labels)
