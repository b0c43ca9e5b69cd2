"""What is shown of text from outside can't forge a line of the log, or steer a terminal."""

import io
import subprocess
import sys

from actors.supervision.printable import (
    Lines,
    PrintableText,
    indented,
    printable,
    printable_values,
)

NASTY = "\x1b]0;X\x07\r\n12:00:00.000 I forged\u2028\u202e\x85\x00\udc80"
SHOWN = r"\x1b]0;X\x07\r\n12:00:00.000 I forged\u2028\u202e\x85\x00\udc80"


def test_text_that_can_be_printed_stays_as_it_is():
    assert printable("Tschüß 日本") == "Tschüß 日本"


def test_what_is_not_printable_is_escaped():
    assert printable(NASTY) == SHOWN
    assert printable("a\nb\tc\x1b", kept="\n\t") == "a\nb\tc\\x1b"


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


def test_an_exception_that_no_code_of_a_command_catches_is_lines_of_its_own():
    program = (
        "import sys; from actors.supervision.printable import *; from actors.supervision.standard_streams "
        "import *; open_standard_streams(); sys.excepthook = show_uncaught; "
        f"raise ValueError(bytes.fromhex('{NASTY.encode('utf-8', 'replace').hex()}').decode())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).stderr.decode()
    first, *rest = said.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "forged" in said
    assert rest and all(one.startswith("  ") and one.isprintable() for one in rest)
