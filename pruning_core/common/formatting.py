"""Numbers as people read them: percent, bytes, seconds, probabilities.

A missing number (None or NaN) is written as "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

UNKNOWN = "unknown"
BYTE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def missing(value: float | None) -> bool:
    """True for None and NaN."""
    return value is None or math.isnan(value)


def trimmed(value: float, digits: int) -> str:
    """`value` with at most `digits` decimals and no zeros at the end."""
    text = f"{value:.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def format_percent(fraction: float | None, digits: int | None = None) -> str:
    """A fraction as percent: "78.7 %".

    Without `digits` there is at most one decimal, or more where one decimal would round a value
    under 100 % up to 100 %. With `digits` there are exactly that many decimals.
    """
    if fraction is None or missing(fraction):
        return UNKNOWN
    if digits is not None:
        return f"{100 * fraction:.{digits}f} %"
    decimals = 1
    while fraction < 1 and round(100 * fraction, decimals) >= 100 and decimals < 6:
        decimals += 1
    return f"{trimmed(100 * fraction, decimals)} %"


def format_points(fraction: float | None) -> str:
    """A difference of two fractions in percentage points: "1 point", "0.5 points"."""
    if fraction is None or missing(fraction):
        return UNKNOWN
    number = trimmed(100 * fraction, 2)
    return f"{number} point" if number == "1" else f"{number} points"


def format_bytes(size: float | None) -> str:
    """Bytes in decimal units (1 MB = 1,000,000 bytes), three digits: "1.05 MB"."""
    if size is None or missing(size):
        return UNKNOWN
    for factor, unit in BYTE_UNITS:
        if size >= 0.9995 * factor:
            value = size / factor
            decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{decimals}f} {unit}"
    return f"{size:.0f} bytes"


def signed(fraction: float) -> str:
    """A difference in percentage points with its sign: "+1.2", "−0.4", "0"."""
    if math.isnan(fraction):
        return UNKNOWN
    text = trimmed(100 * fraction, 2)
    if text.startswith("-"):
        return f"\u2212{text[1:]}"
    return text if text == "0" else f"+{text}"


def signed_bytes(size: float) -> str:
    """A difference of sizes with its sign."""
    if math.isnan(size):
        return UNKNOWN
    if not round(size):
        return "0 bytes"
    return f"{'+' if size > 0 else chr(0x2212)}{format_bytes(abs(size))}"


def format_times(ratio: float | None) -> str:
    """A ratio with sensible digits: "8.75", "12.3", "140"."""
    if ratio is None or missing(ratio):
        return UNKNOWN
    return trimmed(ratio, 2 if ratio < 10 else 1 if ratio < 100 else 0)


def format_macs(value: float | None) -> str:
    """Multiply-accumulates with a unit: `6.12 M`."""
    if value is None or missing(value):
        return UNKNOWN
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def format_seconds(seconds: float | None) -> str:
    """A duration: "4.2 s", "42 s", "2 min 10 s", "1 h 5 min"."""
    if seconds is None or missing(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{trimmed(seconds, 1)} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    minutes = round(seconds / 60)
    return _two(minutes // 60, "h", minutes % 60, "min")


# The units of a time to come: up to how many seconds, the seconds of one, its name, and the steps
# to which the number is rounded, each from a number on.
_TIME_UNITS = (
    (95.0, 1, "s", ((0, 5), (20, 10))),
    (7000.0, 60, "min", ((0, 1), (10, 5), (60, 10))),
    (48 * 3600.0, 3600, "h", ((0, 1), (10, 5))),
    (math.inf, 24 * 3600, "days", ((0, 1), (10, 5))),
)
# The low end has the unit of the high end if it is at least this many of it.
SAME_UNIT = 0.75


def format_time_range(low: float, high: float) -> str:
    """A range of seconds, rounded to what an estimate can tell: "2 to 4 min", "about 10 s".

    Home, Tune, Runs and Compare write times to come by this function, so that they agree.
    """
    _, unit, name, steps = next(entry for entry in _TIME_UNITS if high < entry[0])
    last = _to_step(high / unit, steps)
    if unit == 1 or low >= SAME_UNIT * unit:
        first = _to_step(low / unit, steps)
        return f"about {last} {name}" if first == last else f"{first} to {last} {name}"
    _, unit, low_name, steps = next(entry for entry in _TIME_UNITS if low < entry[0])
    return f"{_to_step(low / unit, steps)} {low_name} to {last} {name}"


def _to_step(number: float, steps: tuple[tuple[int, int], ...]) -> int:
    """A number rounded to its step, and at least one step."""
    step = [width for start, width in steps if number >= start][-1]
    return max(step, step * round(number / step))


def format_epochs(epochs: float | None) -> str:
    """Epochs with their noun, to three decimals: "1 epoch", "0.5 epochs"."""
    number = epoch_number(epochs)
    return f"{number} epoch" if number == "1" else f"{number} epochs"


def epoch_number(epochs: float | None) -> str:
    """Epochs without their noun: "2", "0.5", "12.25"."""
    return UNKNOWN if epochs is None or missing(epochs) else trimmed(epochs, 3)


def format_p(p: float) -> str:
    """A p-value: "p = 0.03", "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2g}" if p < 0.995 else "p = 1"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 epoch", "10 epochs", "2,223,872 weights"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def join_words(words: Iterable[str]) -> str:
    """Words in a row: "a", "a and b", "a, b and c"."""
    *head, last = list(words) or [""]
    return f"{', '.join(head)} and {last}" if head else last


def join_first(names: Sequence[str], noun: str, count: int = 3) -> str:
    """The first names in a row, and the number of others: "a, b, c and 4 more layers"."""
    more = f" and {format_count(len(names) - count, f'more {noun}')}"
    return ", ".join(names[:count]) + more * (len(names) > count)


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    text = f"{large} {large_unit}"
    return f"{text} {small} {small_unit}" if small else text
