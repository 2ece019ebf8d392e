"""A random walk through the pages in a browser, and the state that each page must show.

A step sets a control, opens a page, goes Back or Forward, reloads, or opens the address in a
second tab, sometimes while the worker is stopped. After each step every control of the page must
show the value of the model, and no control may have shown any other value in between.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
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
from tests.walks.controls import (
    ANY,
    CONTROLS,
    EMPTY,
    POLL,
    POPOVERS,
    TAB,
    TRIES,
    Control,
    tab_named,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SLOW, RESTS = 90_000, 4
# What every control of the page shows, by its label, also in an open popover; the heading names the
# run on Runs, and the topic on the Guide.
SNAPSHOT = f"""() => {{
    const shown = {{}};
    const main = document.querySelector('[data-testid="stMain"]');
    if (!main) return shown;
    const parts = [main, ...document.querySelectorAll('[data-testid="stPopoverBody"]')];
    const inputs = 'input[aria-label]:not([type=file]):not([type=radio])';
    for (const input of parts.flatMap(part => [...part.querySelectorAll(inputs)])) {{
        const tags = input.closest('[data-testid="stMultiSelect"]');
        const inTab = input.closest('[data-testid="stTabs"]') ? '{TAB}' : '';
        shown[inTab + input.ariaLabel] = input.type === 'checkbox' ? String(input.checked)
            : tags ? [...tags.querySelectorAll('.react-aria-ComboBox [data-tag]')]
                .map(tag => tag.ariaLabel).join(', ') || '{EMPTY}' : input.value;
    }}
    for (const group of main.querySelectorAll('[role=radiogroup]')) {{
        const chosen = group.querySelector('[aria-checked=true], label:has(input:checked)');
        shown[group.ariaLabel || 'group'] = chosen ? chosen.innerText.trim() : '';
    }}
    const tab = main.querySelector('[role=tab][aria-selected=true]');
    if (tab) shown.tab = tab.innerText.trim();
    const title = main.querySelector('h1'), heading = main.querySelector('h2');
    if (title) shown.title = title.innerText.trim();
    if (shown.title === 'Guide' && heading) shown.topic = heading.innerText.trim();
    if (shown.title !== 'Runs') return shown;
    if (heading) shown.run = heading.innerText.trim();
    const rows = [...main.querySelectorAll('.st-key-runs tbody tr')];
    const place = [...main.querySelectorAll('.st-key-runs thead th')]
        .findIndex(head => head.textContent === 'Name');
    const name = row => row.children[place]?.textContent ?? 'row ' + rows.indexOf(row);
    if (rows.length) {{  // else the list is empty, or its table is not drawn yet
        const ticked = rows.filter(row => row.ariaSelected === 'true');
        shown.rows = rows.map(name).join(', ');
        shown.ticked = ticked.map(name).join(', ') || '{EMPTY}';
    }}
    const selected = main.querySelector('.st-key-selected p');
    if (selected) shown.selected = selected.innerText;
    return shown;
}}"""
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

POPOVER = '[data-testid="stPopoverBody"]'
CANNOT_RUN = "This cannot run yet"  # begins the errors of Tune

Snapshot = dict[str, str]


class Violation(AssertionError):
    """A page has shown, or shows, a value that is not the state's."""


PAGES = list(CONTROLS)
# The goal is the session's: a link to one of these pages takes it along, from whichever page it was
# set on. In a new session it is that of the address, else the default.
GOAL = {"Max. accuracy drop (points)": "1", "Max. size (MB)": ""}
STEPS = (
    *("set", "set", "set", "other tab", "open", "open"),
    *("back", "forward", "reload", "second tab"),
)


@dataclass
class Entry:
    """An entry of the browser's history: a page and what its controls show.

    `known` has the values of hidden controls, too.
    """

    page: str
    shown: Snapshot
    known: Snapshot
    goal: Snapshot

    def set(self, after: Snapshot, implied: tuple[str, ...] = ()) -> None:
        """Store what the page shows after a step, in which the `implied` values may change."""
        others = {label: value for label, value in self.known.items() if label not in implied}
        self.shown, self.known = after, {**others, **after}


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
        self.visited: dict[str, Entry] = {}
        self.goal = dict(GOAL)
        self.counts: Counter[str] = Counter()
        self.controls: set[str] = set()
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
        controls = [one for one in CONTROLS[self._entry.page] if one.label in self._entry.shown]
        if not controls:
            return self._open()
        control = self.draw.choice(controls)
        if control.label == "run" and "rows" not in self._entry.shown:
            return None
        return self._set_control(control)

    def _other_tab(self) -> None:
        """Open another tab of Tune, then the first one again, whose settings must still stand."""
        first = self._entry.shown.get("tab")
        if first is None:
            return self._set()
        titles = [title.strip() for title in self.page.get_by_role("tab").all_inner_texts()]
        other = self.draw.choice([title for title in titles if title != first])
        for title in (other, first):
            self._set_control(Control("tab", tab_named(title), hides=True))
        return None

    def _set_control(self, control: Control) -> None:
        before = self._entry.shown
        self._note(f"set {control.label}")
        self.controls.add(f"{self._entry.page}: {control.label}")
        if control.popover:
            self._open_popover(control.popover)
        value = control.set(self.page, control.name, self.draw)
        if control.popover:
            self._close_popover()
        known = self._entry.known
        after = self._settle(
            lambda shown: (
                value in (ANY, shown.get(control.label, "").removesuffix(" Finished"))
                and (value != ANY or control.label in shown)
                and _follows(shown, before, known, control)
            ),
            f"{control.label} = {value!r} and the rest of {known}",
        )
        self._check_seen(before, after, (control.label,))
        if control.visit:
            return self._enter(Entry(self._entry.page, after, after, self.goal))
        if self._entry.page == "Tune" and self.page.get_by_text(CANNOT_RUN).count():
            return self._reload_last_valid(after, control)
        self._entry.set(after, control.implied)
        self.visited[self._entry.page] = self._entry
        self.goal = self._entry.goal = _with(self.goal, after)
        return None

    def _reload_last_valid(self, after: Snapshot, control: Control) -> None:
        """A link holds the last valid settings: those before the step, if it has made an error."""
        self._note("reload last valid settings")
        before = self._entry.shown
        self.page.reload()
        shown = self._settle(lambda now: now in (before, after), f"{before} or {after}")
        self._check_seen(before, after)
        if shown == after:
            self._entry.set(after, control.implied)
        self._new_session()

    def _open(self) -> None:
        name = self.draw.choice([one for one in PAGES if one != self._entry.page])
        self._note(f"open {name}")
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self._arrive(name, self.visited.get(name))

    def _arrive(self, name: str, visited: Entry | None) -> None:
        before = self.entries[self.index].shown if self.entries else {}
        expected = None if visited is None else _with(visited.shown, self.goal)
        title = {"Tune": "Set up a comparison", "Home": "Pruning Lab"}.get(name, name)
        labels = {"title", *(control.label for control in CONTROLS[name] if control.always)}
        shown = self._settle(
            lambda now: (
                now.get("title") == title
                and (labels <= set(now) if expected is None else now == expected)
            ),
            f"{name} with {expected or labels}",
        )
        self._check_seen(before, shown)
        self.goal = _with(self.goal, shown)
        known = {**_with(visited.known, self.goal), **shown} if visited else shown
        self._enter(Entry(name, shown, known, self.goal))

    def _enter(self, entry: Entry) -> None:
        """Add an entry to the history, after the present one."""
        self.entries[self.index + 1 :] = [entry]
        self.index = len(self.entries) - 1
        self._visit()

    def _visit(self) -> None:
        """Links to the page of the present entry open what it shows; the Guide opens its start."""
        if self._entry.page != "Guide":
            self.visited[self._entry.page] = self._entry

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
        self._visit()
        if self._entry.page in WITH_GOAL:
            self.goal = self._entry.goal

    def _reload(self) -> None:
        self._note("reload")
        self.page.reload()
        self._expect_entry({})
        self._new_session()

    def _new_session(self) -> None:
        """A new session knows what the address holds."""
        self.visited = {}
        self._visit()
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
        end = time.monotonic() + SLOW / 1000
        while time.monotonic() < end:
            shown: Snapshot = self.page.evaluate("() => window.snapshot()")
            popovers = shown.get("title") == "Runs"
            quiet = self.page.evaluate(SETTLED) and shown == last and (popovers or holds(shown))
            rests, last = (rests + 1 if quiet else 0), shown
            if rests == RESTS:
                last = self._with_popovers(shown) if popovers else shown
                if holds(last):
                    return last
                rests = 0
            self.page.wait_for_timeout(POLL)
        differing = f"{self.page.url} shows {last}; expected {wanted}"
        raise Violation(f"{self.steps[-12:]}: {differing}.")

    def _with_popovers(self, shown: Snapshot) -> Snapshot:
        """What the page shows with the controls in its popovers."""
        every = dict(shown)
        for name in POPOVERS:
            self._open_popover(name)
            opened = self.page.evaluate("() => window.snapshot()")
            every |= {label: value for label, value in opened.items() if label not in shown}
            self._close_popover()
        return every

    def _open_popover(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()
        self.page.locator(f"{POPOVER} input").last.wait_for()
        self.page.wait_for_timeout(POLL)

    def _close_popover(self) -> None:
        for _ in range(TRIES):
            if not self.page.locator(POPOVER).count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(POLL)
        raise Violation(f"{self.steps[-12:]}: a popover does not close.")

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
            stop_without_lock(worker["pid"], self.cache)
            self.counts["worker stopped"] += 1
        try:
            yield
        finally:
            if worker:
                os.kill(worker["pid"], signal.SIGCONT)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


class ImpatientQueue(Queue):
    """Waits for no lock."""

    lock_seconds = 0.1


def stop_without_lock(pid: int, cache: Cache) -> None:
    """Stop a worker while it holds no lock of the queue, which the pages would wait for."""
    reader = ImpatientQueue(cache.queue)
    for _ in range(TRIES):
        with Queue(cache.queue)._write():
            os.kill(pid, signal.SIGSTOP)
            _wait_until_stopped(pid)
        # A connection that is being closed may hold a lock that no reader passes.
        try:
            reader.busy()
            return
        except sqlite3.OperationalError as error:
            os.kill(pid, signal.SIGCONT)
            if "locked" not in str(error):
                raise
    raise TimeoutError("The worker holds a lock whenever it is stopped.")


def _wait_until_stopped(pid: int) -> None:
    """Wait until the signal has arrived: until then a process still runs, and may take a lock."""
    state = ""
    while state not in ("T", "Z"):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _with(values: Snapshot, others: Snapshot) -> Snapshot:
    """The values, those of them that are in `others` replaced."""
    return {label: others.get(label, value) for label, value in values.items()}


def _follows(shown: Snapshot, before: Snapshot, known: Snapshot, control: Control) -> bool:
    """Whether all controls but one, and those that it implies, show what they showed before.

    Those that appear have the values that they had when they were last seen.
    """
    for label in {*shown, *before} - {control.label, *control.implied}:
        moved = (label in shown) != (label in before)
        if moved and not (control.hides or label.startswith(TAB)):
            return False
        if label in shown and shown[label] != known.get(label, shown[label]):
            return False
    return True
