"""What the report of a demo must say on any machine, however busy it is."""

import re

ALWAYS = [
    "every play counted exactly once",
    "at most 20 videos per publish, each once",
    "only totals that changed, none ever falls",
    "ends in order",
]
# A busy machine may be late. Tests in virtual time check when totals are published.
OF_TIME = [r"under 100 plays: published as received", r"100 or more: within [\d.]+ s of arrival"]


def assert_held_but_for_time(code: int | None, out: str, err: str = "") -> None:
    """Check that each promise was judged, and none but those of time is broken, as the exit code says."""
    marks = re.findall(r"^(held|BROKEN) +(\S.*?) *$", out, re.MULTILINE)
    told = out + err
    assert [what for mark, what in marks if what in ALWAYS and mark == "held"] == ALWAYS, told
    others = [(mark, what) for mark, what in marks if what not in ALWAYS]
    assert len(others) == len(OF_TIME), told
    assert all(re.fullmatch(one, what) for one, (_, what) in zip(OF_TIME, others, strict=True)), told
    broken = sum(mark == "BROKEN" for mark, _ in others)
    assert f"\npromises broken: {broken or 'none'}\n" in out, told
    assert code == (1 if broken else 0), told
