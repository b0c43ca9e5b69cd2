"""What `drill --here` says at its end, and its exit code."""

import pytest

from actors.cli import drill_here
from actors.cli.agreement import Told, Verdict
from actors.system.exits import EXIT_DONE, EXIT_FAILED

FINE = Told(3, 0, 0)


@pytest.mark.parametrize(
    ("verdict", "told", "code"),
    [
        (Verdict(0, 0, 0), FINE, EXIT_DONE),
        (Verdict(0, 0, 0), None, EXIT_DONE),
        (Verdict(1, 0, 0), FINE, EXIT_FAILED),
        (Verdict(0, 1, 0), FINE, EXIT_FAILED),
        (Verdict(0, 0, 0), Told(3, 1, 0), EXIT_FAILED),
        (Verdict(0, 0, 0), Told(3, 0, 1), EXIT_FAILED),
        (Verdict(0, 0, 7), FINE, EXIT_FAILED),
    ],
)
def test_only_what_is_proven_ends_with_0(verdict, told, code):
    assert drill_here._show([], 0, verdict, told) == code


def test_what_could_not_be_proven_is_one_sentence_with_what_to_do(capsys):
    drill_here._show([], 0, Verdict(0, 0, 7), FINE)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "not proven: the load never paused, so up to 7 messages could be lost or counted twice unseen; run "
        "it again where no play comes for a moment"
    )
