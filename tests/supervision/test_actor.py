"""Inside an actor's process: what the links of a peer leave behind when the peer comes back many times."""

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
from actors.supervision.loop import PlainLoop
from actors.supervision.mailbox import Link, encode
from actors.supervision.protocol import Linked

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
