"""Inside an actor's process: what the links of a peer leave behind when it comes back many times, what is
held back while the host is corked, and what becomes of an error in what was spawned or is guarded.
"""

import asyncio
import contextlib
import gc
import os
import socket
import stat

import pytest
from msgspec import Struct

from actors.supervision.actor import Actor, StartArgs
from actors.supervision.actor_host import ActorHost
from actors.supervision.control import ControlPipe
from actors.supervision.loop import PlainLoop
from actors.supervision.mailbox import Decoder, Link, encode
from actors.supervision.protocol import ChildInbox, Linked, Ready

INCARNATIONS = 200


class Word(Struct, frozen=True, array_like=True, tag="word"):
    """A message."""

    number: int


class Listener(Actor):
    """Takes words, and ends its loop when it has what the test waits for."""

    inbox = Word

    def __init__(self, start_args, host):
        super().__init__(start_args, host)
        self.heard, self.gone = 0, 0
        self.changed = lambda: None

    def handle(self, peer, messages):
        self.heard += len(messages)
        self.changed()

    def lost(self, peer):
        self.gone += 1
        self.changed()


def links():
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Link)]


def open_sockets():
    """Sockets only, because this process may meanwhile open other files."""
    found = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the folder itself
            found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return found


@pytest.mark.parametrize("make_loop", [PlainLoop, asyncio.new_event_loop])
def test_of_two_hundred_lives_of_a_peer_only_the_last_ones_link_is_left(make_loop):
    loop = make_loop()
    host = ActorHost(StartArgs("listener", 1, ""), None, loop, Listener)
    actor = host.actor
    actor.changed = loop.stop
    before, sockets = len(links()), open_sockets()
    for incarnation in range(1, INCARNATIONS + 1):
        ours, theirs = socket.socketpair()
        host._link(Linked("speaker", incarnation), ours)
        theirs.sendall(encode(Word(incarnation)))
        while actor.heard < incarnation:
            loop.run_forever()
        gone = actor.gone
        theirs.close()
        if incarnation % 2 and incarnation < INCARNATIONS:  # in the other cases the next link is there first
            while actor.gone == gone:
                loop.run_forever()
            assert not actor.host.peers()
    assert actor.gone == INCARNATIONS - 1
    assert [one.incarnation for one in links()[before:]] == [INCARNATIONS]
    assert open_sockets() == sockets + 1
    host._links["speaker"].close()
    if make_loop is not PlainLoop:
        loop.close()


def test_what_was_sent_to_several_peers_while_corked_is_written_when_it_ends():
    host = ActorHost(StartArgs("listener", 1, ""), None, PlainLoop(), Listener)
    with contextlib.ExitStack() as stack:
        theirs = {}
        for peer in ("one", "two", "three"):
            ours, theirs[peer] = map(stack.enter_context, socket.socketpair())
            theirs[peer].setblocking(False)
            host._link(Linked(peer, 1), ours)
        host.cork()
        for number, peer in enumerate(["one", "two", "one"]):
            host.send(peer, Word(number))
        for end in theirs.values():
            with pytest.raises(BlockingIOError):
                end.recv(1)
        host.uncork()
        assert Decoder(Word).feed(theirs["one"].recv(100)) == [Word(0), Word(2)]
        assert Decoder(Word).feed(theirs["two"].recv(100)) == [Word(1)]
        with pytest.raises(BlockingIOError):
            theirs["three"].recv(1)
        host.send("three", Word(3))
        assert Decoder(Word).feed(theirs["three"].recv(100)) == [Word(3)]


class Careless(Actor):
    """Spawns what fails, or has an answer of it that is not expected."""

    async def init(self):
        async def wait():
            await asyncio.sleep(0)
            return self.options

        self.host.spawn(wait(), lambda number: 1 / number)
        self.host.spawn(asyncio.sleep(0, 1), lambda number: None)
        return Ready()


class Guarded(Actor):
    """Gives a transport something to call that fails as the transport itself may."""

    async def init(self):
        def fail(number):
            raise ConnectionResetError("a bug")

        call = self.host.guarded(fail)
        self.host.call_later(0.0, lambda: call(1))
        return Ready()


@pytest.mark.parametrize(("actor", "error"), [(Careless, ZeroDivisionError), (Guarded, ConnectionResetError)])
def test_an_error_in_what_was_spawned_or_is_guarded_ends_the_process(actor, error):
    loop = asyncio.new_event_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs, contextlib.closing(loop):
        control = ControlPipe(ours, ChildInbox)
        host = ActorHost(StartArgs("careless", 1, "", options=0), control, loop, actor)
        with pytest.raises(error):
            host.run()
        assert not host._tasks, "what is over is not held"
