"""What is shown of text from outside can't forge a line of the log, or steer a terminal."""

import io
import logging
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pytest

from actors.supervision.printable import (
    LineFormatter,
    Lines,
    PrintableText,
    indented,
    printable,
    printable_values,
)

NASTY = "\x1b]0;X\x07\r\n12:00:00.000 I forged\u2028\u202e\x85\x00\udc80"
SHOWN = r"\x1b]0;X\x07\r\n12:00:00.000 I forged\u2028\u202e\x85\x00\udc80"


def line(message, *args, exc_info=None):
    record = logging.LogRecord("name", logging.INFO, "file", 1, message, args, exc_info)
    return LineFormatter("%(levelname).1s %(message)s").format(record)


def test_text_that_can_be_printed_stays_as_it_is():
    assert printable("Tschüß 日本") == "Tschüß 日本"


def test_what_is_not_printable_is_escaped():
    assert printable(NASTY) == SHOWN
    assert printable("a\nb\tc\x1b", kept="\n\t") == "a\nb\tc\\x1b"


@pytest.mark.parametrize(
    "arg", [NASTY, ValueError(NASTY), {"reason": NASTY}, NASTY.encode("utf-8", "replace")]
)
def test_an_argument_of_a_record_is_one_line(arg):
    assert line("it says %s", arg).isprintable()
    assert line("it says %r", arg).isprintable()
    assert line("%(what)s", {"what": arg}).isprintable()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns", "X24:00:01"])
def test_a_line_has_its_date_and_its_zone(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        record = logging.makeLogRecord({"msg": "it starts", "created": 1795502904.125})
        at, _, text = LineFormatter("%(asctime)s %(message)s").format(record).partition(" ")
        assert (text, len(at)) == ("it starts", len("2026-11-24T07:48:24.125+00:00"))
        assert datetime.fromisoformat(at).timestamp() == 1795502904.125
    finally:
        monkeypatch.undo()
        time.tzset()


def test_numbers_are_formatted_as_numbers():
    assert line("%d of %5.1f, %3d %s", 7, 2.25, np.int64(4), None) == "I 7 of   2.2,   4 None"


def test_lines_that_we_made_are_indented():
    assert line("stopped:\n%s", Lines("one\ntwo\x07")) == "I stopped:\n  one\n  two\\x07"


def test_a_tracebacks_lines_are_indented():
    try:
        raise ValueError(NASTY)
    except ValueError:
        shown = line("failed", exc_info=sys.exc_info())
    first, *rest = shown.split("\n")
    assert first == "I failed"
    assert all(one.startswith("  ") and one.isprintable() for one in rest)


def test_an_errors_text_is_lines_if_it_was_made_so():
    assert line("%s", RuntimeError(Lines("one\ntwo\x07"))) == "I one\n  two\\x07"
    assert line("it says: %s", RuntimeError(NASTY)) == f"I it says: {SHOWN}"


def test_lines_of_any_content_are_put_below_each_other():
    shown = indented("two are wrong:", NASTY, Lines("one\ntwo\x07"))
    assert (type(shown), shown) == (Lines, f"two are wrong:\n  {SHOWN}\n  one\n  two\\x07")


def test_values_of_an_answer_are_escaped_however_deep_they_are():
    assert printable_values({NASTY: [NASTY, 1, None, {"a": NASTY}]}) == {
        SHOWN: [SHOWN, 1, None, {"a": SHOWN}]
    }


def test_a_stream_escapes_what_is_written_to_it():
    raw = io.BytesIO()
    stream = PrintableText(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
    print(NASTY, "\t.", file=stream)
    assert raw.getvalue().decode() == SHOWN + " \\t.\n"
    print(Lines("one\ntwo\x07"), RuntimeError(Lines("three\nfour")), sep="\n", file=stream)
    assert raw.getvalue().decode().endswith("one\ntwo\\x07\nthree\nfour\n")
    stream.styled.write("\x1b[1m")
    assert raw.getvalue().endswith(b"\x1b[1m")
    assert stream.styled.encoding == "utf-8"


def test_an_exception_that_no_code_catches_is_lines_of_its_own():
    program = (
        "import sys; from actors.supervision import log_writer; from actors.supervision.printable import *; "
        "log_writer.install(LineFormatter('%(message)s'), 'INFO'); "
        f"raise ValueError(bytes.fromhex('{NASTY.encode('utf-8', 'replace').hex()}').decode())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).stderr.decode()
    first, *rest = said.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "forged" in said
    assert rest and all(one.startswith("  ") and one.isprintable() for one in rest)
