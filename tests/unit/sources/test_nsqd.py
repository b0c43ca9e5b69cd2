"""One connection to an nsqd that ends early, while pynsq still sets it up."""

import asyncio
import socket

from nsq import event

from actors.sources.connection import BatchConnection
from actors.sources.limits import Limits
from actors.sources.offers import Offers


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
