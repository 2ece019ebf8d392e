"""Tables as CSV, which no spreadsheet takes for formulas.

Names of runs, classes, layers and folders come from the user's files. A spreadsheet runs a cell
that begins with one of `= + - @` as a formula, also a quoted one (OWASP, CSV injection).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

LINE_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Characters that are not seen before a formula, and what begins one.
UNSEEN = r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff\u202a-\u202e\u2066-\u2069]*"
BEGINNING = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
FORMULA = re.compile(rf"{UNSEEN}{BEGINNING}|\t")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
# A spreadsheet of another country may split a text at another separator; a number there is none.
LATER_FORMULA = re.compile(
    rf"([;,\t|]{UNSEEN})(?={BEGINNING})(?!{NUMBER.pattern}[)\]]*(?:[;,\t|\s]|$))", re.IGNORECASE
)
BYTE_ORDER_MARK = "\ufeff"


def csv_text(frame: pd.DataFrame, columns: Sequence[str] = (), excel: bool = False) -> str:
    """The rows of a frame as CSV, with all its columns or only these.

    A text that a spreadsheet would run begins with an apostrophe, also behind a separator in it,
    and its line breaks are spaces.
    Numbers are written as they are. `excel` is for Excel in German, French and other languages: a
    semicolon between columns and a decimal comma, with a byte-order mark.
    """
    table = frame[list(columns)] if columns else frame
    written = table.copy()
    for position, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            cells = [_cell(value, excel) for value in table.iloc[:, position]]
            written.isetitem(position, pd.Series(cells, table.index, dtype=object))
    separator, decimal = (";", ",") if excel else (",", ".")
    text = written.to_csv(index=False, sep=separator, decimal=decimal, lineterminator="\n")
    return BYTE_ORDER_MARK + text if excel else text


def _cell(value: Any, excel: bool) -> Any:
    """A cell of a column that is not only of numbers."""
    if excel and isinstance(value, float):
        return None if pd.isna(value) else repr(value).replace(".", ",")
    if not isinstance(value, str):
        return value
    text = LINE_BREAKS.sub(" ", value)
    if NUMBER.fullmatch(text):
        return text
    text = LATER_FORMULA.sub(_with_apostrophe, text)
    return f"'{text}" if FORMULA.match(text) else text


def _with_apostrophe(match: re.Match[str]) -> str:
    return f"{match[1]}'"
