"""Tables as CSV: every number as it is, and no text that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import math

import pandas as pd
import pytest

from pruning_core.results.csv_text import csv_text

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\tx", "\r=1", " =1", "\n=1", "\uff1d1", "-", "-a")
UNSEEN = ("\ufeff=1", "\u200b=1", "\x00=1", "\x1b+1", "\u202e@A1")
TEXTS = ("", "a=b", "1 - 2", "0.5", "-0.5", "+1e-3", "résumé", 'say "hi", he said')


def rows(text: str, separator: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text), delimiter=separator))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_would_run_begins_with_an_apostrophe(text: str) -> None:
    _, (cell, number) = rows(csv_text(pd.DataFrame({"name": [text], "drop": [-0.25]})))
    assert cell.startswith("'")
    assert cell.removeprefix("'").strip() == text.strip()
    assert number == "-0.25"


@pytest.mark.parametrize("text", UNSEEN)
def test_characters_that_are_not_seen_hide_no_formula(text: str) -> None:
    assert csv_text(pd.DataFrame({"name": [text]})) == f"name\n'{text}\n"


@pytest.mark.parametrize("separator", [";", ",", "\t", "|", "; "])
def test_a_formula_behind_another_separator_does_not_run(separator: str) -> None:
    """A spreadsheet splits a line at the separator of its country."""
    text = csv_text(pd.DataFrame({"name": [f"cat{separator}=HYPERLINK(A1)", "0,5", "a, -1); c"]}))
    assert [cell for cell, *_ in rows(text)[1:]] == [
        f"cat{separator}'=HYPERLINK(A1)",
        "0,5",
        "a, -1); c",
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_and_numbers_are_not_changed(text: str) -> None:
    assert rows(csv_text(pd.DataFrame({"name": [text, "b"]})))[1] == ([text] if text else [""])


def test_a_row_is_one_line() -> None:
    text = csv_text(pd.DataFrame({"a": ["x\r\ny", "x\u2028y", "x\vy"], "b": [1, 2, 3]}))
    assert text == "a,b\nx y,1\nx y,2\nx y,3\n"


def test_columns_are_chosen_and_missing_values_are_empty() -> None:
    frame = pd.DataFrame({"a": [None, "x"], "b": [math.nan, -1.5], "c": [1, 2]})
    frame["mixed"] = pd.Series([2, -0.5], dtype=object)
    assert csv_text(frame, ("b", "a", "mixed")) == "b,a,mixed\n,,2\n-1.5,x,-0.5\n"


def test_excel_with_a_decimal_comma_reads_the_same_numbers() -> None:
    """Also in a column of mixed numbers, and beside a text with the separator."""
    frame = pd.DataFrame({"name": ["a; b", "=1"], "share": [-0.25, 1e-9], "count": [1234567, 2]})
    frame["epochs"] = pd.Series([2, 0.5], dtype=object)
    text = csv_text(frame, excel=True)
    assert text.startswith("\ufeffname;share;count;epochs\n")
    first, second = rows(text, ";")[1:]
    assert first == ["a; b", "-0,25", "1234567", "2"]
    assert second == ["'=1", "1e-09", "2", "0,5"]
    again = pd.read_csv(io.StringIO(text.removeprefix("\ufeff")), sep=";", decimal=",")
    assert again["share"].tolist() == [-0.25, 1e-9]
    assert again["epochs"].tolist() == [2, 0.5]
