"""What a terminal or a log receives: no control character of a name."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from pruning_core.cli.progress import Terminal
from pruning_core.common.terminal import PrintableStream, one_line, printable, printable_output

CLEAR_SCREEN = "\x1b[2J"
ATTACKS = {
    f"a{CLEAR_SCREEN}b": "a\\x1b[2Jb",
    "a\x07\x08\x7fb": "a\\x07\\x08\\x7fb",
    "done\rfailed": "done\\x0dfailed",
    "\x9b31mred": "\\x9b31mred",
    "\x00": "\\x00",
    "gpj\u202e.exe\u2066": "gpj\\u202e.exe\\u2066",
    "abc\u061cdef": "abc\\u061cdef",
    "caf\udce9": "caf\\udce9",
    "hidden\U000e0041": "hidden\\U000e0041",
    "line\u2028separator": "line\\u2028separator",
}
HARMLESS = ("", "two\nlines\twith a tab", "дані ✂ 犬 é", "C:\\x1b", "👩\u200d🔬")


@pytest.mark.parametrize(("text", "shown"), ATTACKS.items())
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_not_changed(text: str) -> None:
    assert printable(text) == text


def test_a_name_is_one_line() -> None:
    assert one_line(f"cat\nNote: all is well{CLEAR_SCREEN}") == "cat\\nNote: all is well\\x1b[2J"


def test_output_and_logs_are_escaped_and_the_streams_come_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout, sys.stderr
    with printable_output():
        print(CLEAR_SCREEN)
        sys.stderr.writelines([CLEAR_SCREEN, "\n"])
        handler = logging.StreamHandler()
        handler.emit(logging.makeLogRecord({"msg": CLEAR_SCREEN}))
        assert sys.stdout.encoding
    with pytest.raises(ZeroDivisionError), printable_output():
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before
    printed = capsys.readouterr()
    assert printed.out == "\\x1b[2J\n"
    assert printed.err == "\\x1b[2J\n\\x1b[2J\n"


def test_rich_writes_its_own_control_characters_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.StringIO()
    monkeypatch.setattr(sys, "stdout", PrintableStream(raw))
    terminal = Terminal()
    terminal._force_terminal = True
    terminal.show_cursor(False)
    terminal.print(f"a{CLEAR_SCREEN}b", markup=False, highlight=False)
    assert CLEAR_SCREEN not in raw.getvalue()
    assert "a\\x1b[2Jb" in raw.getvalue()
    assert "\x1b[?25l" in raw.getvalue()
