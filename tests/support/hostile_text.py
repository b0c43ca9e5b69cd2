"""Text that tries to write lines of our log, and to steer the terminal that shows it."""

import re

FORGED = "2026-11-29T22:22:55.941+01:00 I forged"
CONTROLS = (
    "\x1b]0;X\x07\x1b[31m\x00\x08\t\x7f\x80\x9b\x9d\xad\u061c\u200e\u200f\u2060\ufeff"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # every character at which a program may begin a new line
HOSTILE = CONTROLS + "".join(one + FORGED for one in BREAKS) + "\r\n" + FORGED + "\n"
WORD = HOSTILE.replace("\0", "")  # for a command line, a path and the environment, which can't have NUL
NAME = f"{CONTROLS}\n{FORGED}\u2028{FORGED}\r\n{FORGED}".replace("\0", "")  # for a file: up to 255 bytes
HEADER = HOSTILE.replace("\r", "").replace("\n", "")  # for one line of a protocol
SEEN = "1b]0;X"  # in any escaping of it
EVENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d ")


def assert_plain(said: bytes | str, seen: str = SEEN) -> None:
    """Every character can be printed, and no line is the forged one.

    `seen`: what must be in the text, so that the test would notice; "" if it may lack the hostile text.
    """
    text = said.decode() if isinstance(said, bytes) else said
    lines = text.split("\n")
    wrong = [one for one in lines if not one.isprintable() or one.lstrip().startswith(FORGED)]
    assert not wrong, "\n".join(map(repr, wrong))
    assert seen in text, text


def assert_log(text: str, seen: str = SEEN) -> None:
    """As `assert_plain`; and each line is an event."""
    assert_plain(text, seen)
    wrong = [one for one in text.splitlines() if not EVENT.match(one)]
    assert not wrong, "\n".join(wrong)
