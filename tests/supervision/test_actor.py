"""An actor's process from inside: what links leave behind when a peer comes back again and again."""

import asyncio
import contextlib
import gc
import os
import socket
import stat

from actors.core.messages import ConsumerInbox, Counted
from actors.supervision.actor import Actor, ActorHost, StartArgs
from actors.supervision.mailbox import Link, encode
from actors.supervision.protocol import Linked

INCARNATIONS = 200


class Counters(Actor):
    """Hears what counters say."""

    inbox = ConsumerInbox

    def __init__(self, start_args):
        super().__init__(start_args)
        self.heard = 0

    def handle(self, peer, messages):
        self.heard += len(messages)


def links():
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Link)]


def open_sockets():
    """Not all descriptors: what else this process does meanwhile opens files of its own."""
    found = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the folder's own
            found += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return found


def test_of_two_hundred_lives_of_a_peer_only_the_last_ones_link_is_left():
    async def live():
        actor = Counters(StartArgs("consumer", 1, ""))
        shell = ActorHost(actor, control=None)
        before, sockets = len(links()), open_sockets()
        for incarnation in range(1, INCARNATIONS + 1):
            ours, theirs = socket.socketpair()
            shell._link(Linked("counter-0", incarnation), ours)
            theirs.sendall(encode(Counted([incarnation])))
            while actor.heard < incarnation:
                await asyncio.sleep(0)
            theirs.close()
            if incarnation % 2 and incarnation < INCARNATIONS:  # else the next one is there first
                while list(actor.peers()):
                    await asyncio.sleep(0)
        assert [one.incarnation for one in links()[before:]] == [INCARNATIONS]
        assert open_sockets() == sockets + 1
        assert len(asyncio.all_tasks()) == 2, "this one, and the one that reads the link"

    asyncio.run(live())
