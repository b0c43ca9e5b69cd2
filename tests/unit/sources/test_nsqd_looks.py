"""Where the HTTP of an nsqd is that has two names, one in the settings and one at an nsqlookupd."""

import asyncio
import json
import time

import pytest

from actors.sources.nsqd_looks import NsqdLooks
from actors.sources.places import Place
from actors.sources.route import Route
from actors.sources.same_nsqd import SameNsqds
from actors.sources.security import PLAIN
from actors.sources.troubles import Troubles
from tests.support.hostile_servers import answer, raw_http

OUR_END = "10.0.0.1:50000"
TOLD = "told:4151"


def two_names(set_http):
    """The looks, the route of the settings, and the route of an nsqlookupd, which has the connection."""
    same = SameNsqds()
    configured, discovered = (
        Route(address, None, 5.0, http_address=http)
        for address, http in (("set:4150", set_http), ("named:4150", TOLD))
    )
    configured.http_is_set = True
    discovered.conn, discovered.own_end = object(), OUR_END
    for route in (configured, discovered):
        same.lead(route, Place("nsqd", frozenset()))
    routes = {route.address: route for route in (configured, discovered)}
    looks = NsqdLooks("plays", "playtally", "us", PLAIN, routes, same, Troubles(time.monotonic))
    return looks, configured, discovered


def test_the_address_of_the_settings_goes_before_the_told_one_under_both_names():
    async def scene():
        looks, configured, discovered = two_names("set:4151")
        assert [looks.http_of(route) for route in (configured, discovered)] == ["set:4151"] * 2
        configured.told_http(TOLD)
        assert looks.http_of(configured) == "set:4151"

    asyncio.run(scene())


@pytest.mark.parametrize(("reader", "is_ours"), [(OUR_END, True), ("10.0.0.9:1", False)])
def test_the_address_of_the_settings_is_checked_with_the_connection_under_the_other_name(reader, is_ours):
    figures = {"depth": 0, "in_flight_count": 0, "deferred_count": 0, "paused": False}
    clients = [{"client_id": "x", "remote_address": reader}]
    channel = {"channel_name": "playtally", "clients": clients, **figures}
    stats = {"topics": [{"topic_name": "plays", "channels": [channel], "depth": 0, "paused": False}]}
    answers = [answer("200 OK", json.dumps(one)) for one in ({"tcp_port": 9}, stats)]

    async def scene(address):
        looks, configured, discovered = two_names(address)
        assert await looks.look(discovered) is None or is_ours
        assert configured.http_is_ours is is_ours
        assert looks.http_of(discovered) == (address if is_ours else TOLD)

    with raw_http(*answers) as http:
        asyncio.run(scene(http.address))
