"""A connection to an nsqd that ends while it is opened."""

import asyncio
import gc

from actors.config import NsqSection
from actors.sources.connection import BatchConnection
from actors.sources.limits import Limits
from actors.sources.offers import Offers
from actors.sources.security import Security


def test_an_opening_that_fails_when_nobody_waits_for_it_any_more_is_no_bug():
    """asyncio would report it, and an actor ends at what asyncio reports."""
    reported = []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            conn = BatchConnection("127.0.0.1", port, Offers(5), Limits(), Security(NsqSection()))
            conn.connect()
            await conn.ended
            del conn
            gc.collect()

    asyncio.run(scene())
    gc.collect()
    assert not reported
