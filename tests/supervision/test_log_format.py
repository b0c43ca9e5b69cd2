"""The log in its two forms: one line an event, whatever its text holds, with the time, its zone, and who."""

import json
import logging
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pytest

from actors.supervision.log_format import JsonFormatter, LineFormatter
from actors.supervision.printable import Lines
from tests.supervision.test_printable import NASTY, SHOWN
from tests.support.patience import PATIENCE_S

ZONES = ["UTC", "Asia/Kolkata", "America/St_Johns", "X24:00:01"]
CREATED_S = 1795502904.125


def record(message, *args, exc_info=None, **extra):
    made = logging.LogRecord("name", logging.INFO, "file", 1, message, args, exc_info)
    made.__dict__.update(extra)
    return made


def line(*args, **facts):
    return LineFormatter("%(levelname).1s %(message)s").format(record(*args, **facts))


def fields(*args, **facts):
    text = JsonFormatter("counter-0#2").format(record(*args, **facts))
    assert text.isascii() and text.isprintable(), text
    return json.loads(text)


def failure():
    try:
        raise ValueError(NASTY)
    except ValueError:
        return sys.exc_info()


@pytest.fixture(params=ZONES)
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "arg", [NASTY, ValueError(NASTY), {"reason": NASTY}, NASTY.encode("utf-8", "replace")]
)
def test_an_argument_of_a_record_is_one_line(arg):
    for message, value in (("it says %s", arg), ("it says %r", arg), ("%(what)s", {"what": arg})):
        assert line(message, value).isprintable()
        assert "it" in fields(message, value)["message"] or value == {"what": arg}


def test_a_line_has_its_date_and_its_zone(zone):
    made = logging.makeLogRecord({"msg": "it starts", "created": CREATED_S})
    at, _, text = LineFormatter("%(asctime)s %(message)s").format(made).partition(" ")
    assert (text, len(at)) == ("it starts", len("2026-11-24T07:48:24.125+00:00"))
    assert datetime.fromisoformat(at).timestamp() == CREATED_S
    assert json.loads(JsonFormatter("me").format(made))["time"] == at


def test_numbers_are_formatted_as_numbers():
    arguments = ("%d of %5.1f, %3d %s", 7, 2.25, np.int64(4), None)
    assert line(*arguments) == "I 7 of   2.2,   4 None"
    assert fields(*arguments)["message"] == "7 of   2.2,   4 None"


def test_lines_that_we_made_are_joined_in_text_and_stay_in_json():
    several = Lines("one\n  two\x07")
    assert line("stopped: %s", several) == "I stopped: one | two\\x07"
    assert fields("stopped: %s", several)["message"] == "stopped: one\n  two\x07"


def test_a_traceback_is_in_the_line_and_in_json_a_field_of_its_own():
    shown = line("failed", exc_info=failure())
    assert shown.startswith("I failed | Traceback (most recent call last): | File ")
    assert shown.isprintable() and "ValueError: " in shown
    found = fields("failed", exc_info=failure())
    assert found["message"] == "failed"
    assert (
        found["traceback"].startswith("Traceback (most recent call last):\n") and NASTY in found["traceback"]
    )


def test_an_errors_text_is_lines_if_it_was_made_so():
    assert line("%s", RuntimeError(Lines("one\ntwo\x07"))) == "I one | two\\x07"
    assert line("it says: %s", RuntimeError(NASTY)) == f"I it says: {SHOWN}"


def test_json_has_who_the_level_the_message_and_what_the_call_adds():
    found = fields("batch %s failed", "b1", batch="b1", nsqd="127.0.0.1:4150", odd={1, 2} - {2})
    assert found.pop("time")
    assert found == {
        "level": "INFO",
        "who": "counter-0#2",
        "message": "batch b1 failed",
        "logger": "name",
        "batch": "b1",
        "nsqd": "127.0.0.1:4150",
        "odd": "{1}",
    }


BEGIN = "import sys, threading, warnings; from actors.supervision.log_format import *; import logging; "
SAID = {
    "an exception": "raise ValueError('two\\nlines')",
    "an exception in a thread": "threading.Thread(target=lambda: {}['last']).start()",
    "an exception in __del__": "class A:\n def __del__(self): 1 / 0\nA()",
    "print": "print('two\\nlines', file=sys.stderr)",
    "a line without an end": "sys.stderr.write('half')",
    "a warning": "warnings.warn('odd')",
    "a record that is wrong": "logging.warning('%d', 'text')",
    "a record": "logging.warning('whole')",
}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("what", SAID)
def test_all_that_a_process_says_on_stderr_is_events_in_the_form_of_the_log(what, form):
    program = f"{BEGIN}configure_log('me#1', 'INFO', '{form}')\n{SAID[what]}"
    words = [sys.executable, "-W", "always", "-c", program]
    said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False).stderr
    lines = said.splitlines()
    assert lines, "it says something"
    if what != "a record that is wrong":  # logging says that in several pieces
        assert len(lines) == 1
    for one in lines:
        at = json.loads(one)["time"] if form == "json" else one.split(" ")[0]
        assert datetime.fromisoformat(at).tzinfo is not None
        assert json.loads(one)["who"] == "me#1" if form == "json" else " me#1 " in one
