"""The control pipe: messages and descriptors come in order, and an end notices that the other end is lost."""

import os
import select
import socket
import threading

import pytest

from actors.supervision.control import DESCRIPTORS_MAX, ControlPipe, PeerLost, PeerStuck
from actors.supervision.mailbox import BadMail, encode
from actors.supervision.protocol import ChildInbox, Linked, Ping, Pong, Ready, SupervisorInbox
from tests.support.patience import PATIENCE_S


@pytest.fixture
def pipe():
    """The supervisor's end and the child's end."""
    ends = socket.socketpair()
    supervisor, child = ControlPipe(ends[0], SupervisorInbox), ControlPipe(ends[1], ChildInbox)
    yield supervisor, child
    for one in (supervisor, child):
        one.close()


def heard(end, count):
    """Wait for `count` messages at one end, with a deadline."""
    found = []
    while len(found) < count:
        ready, _, _ = select.select([end.fileno()], [], [], PATIENCE_S)
        assert ready, f"only {found} came within {PATIENCE_S:g} s"
        found += end.receive()
    return found


def open_descriptors():
    return set(os.listdir("/dev/fd"))


def test_messages_go_both_ways(pipe):
    supervisor, child = pipe
    supervisor.send(Ping(7))
    assert heard(child, 1) == [(Ping(7), None)]
    child.send(Ready({"a": "b"}, "note"))
    child.send(Pong(7, b"stats"))
    assert heard(supervisor, 2) == [
        (Ready({"a": "b"}, "note"), None),
        (Pong(7, b"stats"), None),
    ]


def test_nothing_to_hear_is_no_message(pipe):
    assert pipe[1].receive() == []


def test_every_link_comes_with_its_own_descriptor_in_order(pipe):
    supervisor, child = pipe
    pairs = [socket.socketpair() for _ in range(DESCRIPTORS_MAX)]
    for number, (_, end) in enumerate(pairs):
        supervisor.send(Ping(number))
        supervisor.send(Linked(f"counter-{number}", 1), end.fileno())
        end.close()
    found = heard(child, 2 * len(pairs))
    links = [(message, descriptor) for message, descriptor in found if isinstance(message, Linked)]
    assert [message.peer for message, _ in links] == [f"counter-{n}" for n in range(len(pairs))]
    assert all(descriptor is None for message, descriptor in found if isinstance(message, Ping))
    for number, (_, descriptor) in enumerate(links):
        with socket.socket(fileno=descriptor) as end:
            end.sendall(b"%d" % number)
        assert pairs[number][0].recv(9) == b"%d" % number
        pairs[number][0].close()


def test_an_end_whose_peer_is_gone_hears_what_was_said_and_then_that_it_is_lost(pipe):
    supervisor, child = pipe
    child.send(Ready())
    child.close()
    assert heard(supervisor, 1) == [(Ready(), None)]
    with pytest.raises(PeerLost):
        supervisor.receive()
    with pytest.raises(PeerLost):
        for _ in range(3):
            supervisor.send(Ping(1))


def test_a_message_cut_in_half_by_a_death_is_never_heard(pipe):
    supervisor, child = pipe
    child._end.sendall(encode(Ready({"a": "b"}))[:-1])
    child.close()
    assert supervisor.receive() == []
    with pytest.raises(PeerLost):
        supervisor.receive()


def test_an_end_that_does_not_read_is_stuck_and_blocks_nobody(pipe):
    supervisor, _ = pipe
    with pytest.raises(PeerStuck):
        for number in range(1_000_000):
            supervisor.send(Ping(number))


def test_a_message_that_the_pipe_can_not_hold_at_once_arrives_whole_if_the_other_end_reads(pipe):
    """So does what a consumer tells of a thousand nsqds."""
    supervisor, child = pipe
    large = Pong(1, bytes(3_000_000), 0)
    found = []
    reader = threading.Thread(target=lambda: found.extend(heard(supervisor, 1)))
    reader.start()
    child.send(large, patience_s=PATIENCE_S)
    reader.join()
    assert found == [(large, None)]
    with pytest.raises(PeerStuck):
        child.send(large, patience_s=0.01)


def test_garbage_is_bad_mail(pipe):
    supervisor, child = pipe
    child._end.sendall(b"\xc1")
    with pytest.raises(BadMail):
        supervisor.receive()


def test_a_descriptor_that_nobody_took_is_closed_with_the_pipe():
    ends = socket.socketpair()
    supervisor, child = ControlPipe(ends[0], SupervisorInbox), ControlPipe(ends[1], ChildInbox)
    before = open_descriptors()
    gift, other = socket.socketpair()
    message = encode(Linked("counter-0", 1))
    socket.send_fds(ends[0], [message[:-1]], [other.fileno()])  # the rest of the message never comes
    other.close()
    assert child.receive() == []
    assert len(child._descriptors) == 1
    child.close()
    gift.setblocking(False)
    assert gift.recv(1) == b"", "the other end is closed"
    gift.close()
    supervisor.close()
    assert open_descriptors() <= before
