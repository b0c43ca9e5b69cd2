"""The source on nsqds: one connection that ends early, and an nsqlookupd that names any number of nsqds."""

import asyncio
import json
import socket

import pytest
from nsq import event

from actors.sources import discovery
from actors.sources.connection import BatchConnection
from actors.sources.discovery import nsqds_max
from actors.sources.limits import Limits
from actors.sources.lookup import NSQDS_MAX
from actors.sources.nsqd import NsqdSource
from actors.sources.offers import Offers
from actors.sources.places import Place
from actors.sources.route import Route
from actors.sources.same_nsqd import NAMES_MAX, SameNsqds
from tests.support.patience import PATIENCE_S


def test_a_connection_that_ends_before_it_is_set_up_is_closed_and_no_error():
    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connection = BatchConnection("127.0.0.1", listener.getsockname()[1], Offers(5), Limits())
            ended = []
            connection.on(event.CLOSE, lambda **_: ended.append(connection))
            connection.connect()
            connected = asyncio.get_running_loop().create_future()
            connected.set_result(connection.stream)
            connection.stream.close()  # after it has connected, before it is set up
            connection._connect_callback(connected)
            await asyncio.sleep(0)
            assert ended == [connection]

    asyncio.run(scenario())


def source_on(lookupd, configured=()):
    """A source that has no listener, as it reaches no nsqd."""
    return NsqdSource(
        topic="plays",
        channel="playtally",
        msg_timeout_s=5,
        nsqds=[(address, "") for address in configured],
        lookupd_http_addresses=[lookupd],
        listener=None,
    )


@pytest.mark.parametrize("host", ["127.0.0.2", "n" * 240 + ".invalid"])
def test_of_thousands_of_nsqds_that_an_nsqlookupd_names_some_are_tried_and_one_line_says_so(host, caplog):
    """And those that the settings name are tried as well."""
    producers = [{"broadcast_address": host, "tcp_port": port} for port in range(1, 20_001)]
    body = json.dumps({"producers": producers}).encode()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def scene():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            source = source_on(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", ["127.0.0.3:1"])
            async with asyncio.timeout(PATIENCE_S):
                while "are not read" not in caplog.text:
                    await asyncio.sleep(0.01)
            addresses = [one.stats.address for one in source.nsqds]
            source.close()
            return addresses

    addresses = asyncio.run(scene())
    assert "127.0.0.3:1" in addresses
    assert 1 < len(addresses) <= NSQDS_MAX + 1
    assert f"{20_001 - len(addresses):,} nsqds that nsqlookupds name are not read" in caplog.text


@pytest.mark.parametrize(("files", "most"), [(None, NSQDS_MAX), (10_000, NSQDS_MAX), (264, 90), (20, 1)])
def test_fewer_nsqds_are_read_if_few_files_may_be_opened(files, most, monkeypatch):
    monkeypatch.setattr(discovery, "descriptors_max", lambda: files)
    assert nsqds_max(configured=10) == most


def test_an_nsqd_with_many_names_is_known_by_some_and_always_by_those_that_are_certain():
    same, place = SameNsqds(), Place("here", frozenset({"10.0.0.1:4150", "127.0.0.1:4150"}))
    routes = [Route(f"n{number}:4150", None, 5) for number in range(1000)]
    new = [same.lead(route, place) for route in routes]
    assert sum(new) <= NAMES_MAX
    assert {*place.names} < {*same.names(place)}
    assert len(same.names(place)) <= NAMES_MAX + len(place.names)
    assert [*map(str, same.of(routes[7]))][:2] == ["n7:4150", "n0:4150"]
    for route in routes[1:]:
        same.forget(route)
    assert same.of(routes[0]) == [routes[0]]
    assert same.names(place) == ["10.0.0.1:4150", "127.0.0.1:4150", "n0:4150"]
