"""The producer at nsqds that break the protocol: one line says what each did, and the run goes on."""

import contextlib

import pytest

from producer import workload
from producer.publisher import REFUSALS_MAX
from tests.end_to_end.test_producer import at, nsqd, producing, total_of
from tests.support.hostile_nsqd import HostileNsqd, Script, at_once, frame, message, once_published

__all__ = ["nsqd"]  # a fixture
MPUB_PLAYS = 1000
ENDED = "closed by nsqd|Connection reset by peer|Broken pipe"
UNASKED = message(b"0" * 16, b"x")
PORT = "expected nsqd's TCP port, often 4150"


def ends(content: bytes) -> Script:
    """Send `content` and hang up."""
    return lambda connection: connection.sendall(content)


BEFORE_AN_MPUB = [
    ("a web server answers", at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    (f"a frame of 2147483647 bytes, so no nsqd answers; {PORT}", at_once(b"\x7f\xff\xff\xff\0\0\0\0")),
    (f"a frame of -1 bytes, so no nsqd answers; {PORT}", at_once(b"\xff" * 8)),
    (f"a frame of 0 bytes, so no nsqd answers; {PORT}", at_once(bytes(12))),
    (f"a frame of 2 bytes, so no nsqd answers; {PORT}", at_once(b"\0\0\0\2ab")),
    ("a frame of type 7, expected an answer", at_once(frame(7, b"x"))),
    ("a frame of type 2, expected an answer", at_once(frame(2, b"x"))),
    ("nsqd says E_BAD \ufffd\\x1b[31m", at_once(frame(1, b"E_BAD \xff\x1b[31m"))),
    ("nsqd says that something is wrong, and not what", at_once(frame(1, b""))),
    ("its answer to IDENTIFY is not a JSON object", at_once(frame(0, b"\xff"))),
    (ENDED, ends(b"")),
    (ENDED, ends(b"\0\0\0\x20\0\0")),
]
AFTER_AN_MPUB = [
    ("a web server answers", once_published(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    ("a frame of 2147483647 bytes", once_published(b"\x7f\xff\xff\xff\0\0\0\0")),
    ("a frame of -1 bytes", once_published(b"\xff" * 8)),
    ("a frame of 2 bytes", once_published(b"\0\0\0\2ab")),
    ("a frame of type 7, expected an answer", once_published(frame(7, b"x"))),
    ("a frame of type 2, expected an answer", once_published(UNASKED)),
    (r"it answers b'\xff', expected OK", once_published(frame(0, b"\xff"))),
    (ENDED, once_published(b"\0\0\0\x20\0\0", hangs_up=True)),
    ("no answer to an MPUB for 20 s", once_published(frame(0, b"_heartbeat_"))),
]
REFUSED = [
    ("nsqd says E_BAD \ufffd\\x1b[31m", once_published(frame(1, b"E_BAD \xff\x1b[31m") * 9)),
    ("nsqd says that something is wrong, and not what", once_published(frame(1, b""))),
]


@pytest.mark.parametrize(
    ("scripts", "said", "unknown"),
    [(BEFORE_AN_MPUB, "waiting for", False), (AFTER_AN_MPUB, "lost", True), (REFUSED, "lost", False)],
    ids=["before an MPUB", "after an MPUB", "with an error"],
)
def test_what_an_odd_nsqd_did_is_one_line_and_the_run_goes_on(nsqd, tmp_path, scripts, said, unknown):
    nsqd.start()
    with contextlib.ExitStack() as stack:
        odd = [stack.enter_context(HostileNsqd(nsqd.tcp_address, [script])) for _, script in scripts]
        plays = 8 * MPUB_PLAYS * (len(odd) + 1)
        asked = [*at(*[one.address for one in odd], nsqd.tcp_address), f"--plays={plays}", "--seed=3"]
        run = stack.enter_context(producing(tmp_path, *asked))
        assert run.ends() == int(unknown), run.said
    assert all(one.played for one in odd)
    assert "Traceback" not in run.said and "Exception" not in run.said, run.said
    for one, (reason, _) in zip(odd, scripts, strict=True):
        (line,) = [line for line in run.said.splitlines() if f"{said} nsqd at {one.address} (" in line]
        assert any(words in line for words in reason.split("|")), (reason, run.said)
    lost = run.manifest.get("unacknowledged", {})
    assert total_of(run.manifest["totals"], lost) == workload.make(3, plays).totals
    assert bool(lost) == unknown
    assert nsqd.plays("plays") == run.manifest["totals"], "the odd nsqds kept nothing"


def test_an_nsqd_with_a_host_name_that_refuses_each_handshake_at_first_has_refused_no_plays(nsqd, tmp_path):
    nsqd.start()
    refuses = at_once(frame(1, b"E_AUTH_FAILED x"))
    with HostileNsqd(nsqd.tcp_address, [refuses] * REFUSALS_MAX) as odd:
        name = odd.address.replace("127.0.0.1", "127.1")  # it is looked up, as a host name is
        with producing(tmp_path, *at(name), "--plays=10", "--videos=1") as run:
            assert run.ends() == 0, run.said
    assert (
        run.said.count(f"waiting for nsqd at {name} (nsqd says E_AUTH_FAILED x: see nsq.auth_secret_env") == 1
    )
