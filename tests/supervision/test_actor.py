"""An actor's process from inside: what links leave behind when a peer comes back again and again."""

import asyncio
import gc
import socket

import psutil

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


def test_of_two_hundred_lives_of_a_peer_only_the_last_ones_link_is_left():
    async def live():
        actor = Counters(StartArgs("consumer", 1, ""))
        shell = ActorHost(actor, control=None)
        before, descriptors = len(links()), psutil.Process().num_fds()
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
        assert psutil.Process().num_fds() == descriptors + 1
        assert len(asyncio.all_tasks()) == 2, "this one, and the one that reads the link"

    asyncio.run(live())
