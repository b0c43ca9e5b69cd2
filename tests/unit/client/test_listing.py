"""All videos, a part at a time: whoever asks for all of them, and however many do, the loop turns."""

import asyncio
import json
import socket
import urllib.request
import uuid

import pytest

from actors.client.listing import PART_VIDEOS, Listing
from actors.core import guids
from actors.core.client.audit import Audit
from actors.core.client.promises import Promises
from actors.core.client.videos import PLAYS, Video
from actors.core.columns import guids_of
from actors.system import json_parts
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.served_client import Served

MANY = 5 * PART_VIDEOS + 1
VIDEOS = {guids.text(number.to_bytes(16, "big")): Video(number + 1, 1, 0, 0) for number in range(MANY)}
TOTALS = {guid: video.plays for guid, video in VIDEOS.items()}


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return json.load(answer)


@pytest.mark.parametrize("count", [0, 1, PART_VIDEOS, PART_VIDEOS + 1, MANY])
def test_the_totals_are_all_there_in_whatever_parts_they_are_sent(tmp_path, count):
    with Served(tmp_path) as client:
        client.client.audit.videos.update(dict(list(VIDEOS.items())[:count]))
        assert get(client.port, "/totals") == dict(list(TOTALS.items())[:count])


@pytest.mark.parametrize("path", ["/totals", "/videos", "/videos?start=0"])
def test_a_crowd_that_asks_for_all_videos_gets_a_part_in_each_turn_of_the_loop(tmp_path, path):
    taken = []  # the number of the loop's turn, for each part

    class Turns(Listing):
        async def parts(self, part_videos):
            async for part in super().parts(PART_VIDEOS):
                taken.append(turn)
                yield part

    turn = 0

    def count():
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    with Served(tmp_path) as client:
        client.client.audit.videos.update(VIDEOS)
        client.client.listing = Turns(lambda: client.client.audit)
        client.call(count)
        sockets = [socket.create_connection(("127.0.0.1", client.port), PATIENCE_S) for _ in range(20)]
        for one in sockets:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        for one in sockets:
            assert b"".join(iter(lambda one=one: one.recv(1 << 20), b"")).startswith(b"HTTP/1.1 200")
            one.close()
    assert len(taken) == 20 * 6 == len(set(taken))


def test_one_who_does_not_read_the_totals_is_dropped_and_costs_a_part_only(tmp_path, monkeypatch):
    monkeypatch.setattr(json_parts, "SLOW_TIMEOUT_S", 0.5)
    with Served(tmp_path) as client:
        many = {guids.text(number.to_bytes(16, "big")): Video(1, 1, 0, 0) for number in range(200_000)}
        client.client.audit.videos.update(many)
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect(("127.0.0.1", client.port))
            silent.sendall(b"GET /totals HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: client.client._server._connections, "the connection")
            wait_until(lambda: not client.client._server._connections, "its end")
            assert len(get(client.port, "/totals")) == 200_000


def listed(listing, after_a_part):
    async def found():
        guids = []
        async for part in listing.parts(PART_VIDEOS):
            guids += guids_of(part[:, :PLAYS])
            after_a_part()
        return guids

    return asyncio.run(found())


def test_videos_that_come_meanwhile_are_in_the_next_listing_and_none_is_twice():
    audit = Audit(Promises(), videos=VIDEOS)
    listing = Listing(lambda: audit)
    assert listed(listing, lambda: audit.videos.update({str(uuid.uuid4()): Video(1, 1, 0, 0)})) == list(
        VIDEOS
    )
    assert len(audit.videos) == MANY + 6
    assert listed(listing, lambda: None) == list(audit.videos)


def test_a_store_that_is_read_again_meanwhile_ends_no_listing():
    audits = [Audit(Promises(), videos=VIDEOS)]
    committed = list(VIDEOS)[: 3 * PART_VIDEOS]  # the others came in a publish that failed
    again = Audit(Promises(), videos={video: VIDEOS[video] for video in committed})
    assert listed(Listing(lambda: audits[-1]), lambda: audits.append(again)) == committed
