"""What our listeners answer to a request that they can't answer any more."""

import asyncio
import json

import pytest
import tornado.web
from tornado.netutil import bind_sockets

from actors.system.http_server import BoundedHTTPServer, OwnHandler


@pytest.mark.parametrize("which", ["its task", "what it waits for"])
def test_a_request_that_waits_while_the_process_ends_is_told_so(which):
    async def scene():
        tasks = []
        began, task = asyncio.Event(), asyncio.ensure_future(asyncio.Event().wait())

        class Waiting(OwnHandler):
            async def get(self):
                tasks.append(asyncio.current_task())
                began.set()
                await asyncio.shield(task)

        server = BoundedHTTPServer(tornado.web.Application([("/", Waiting)]), address="127.0.0.1:0")
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        port = sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        await began.wait()
        (tasks[0] if which == "its task" else task).cancel()  # asyncio.run cancels every task at its end
        answer = await reader.read()
        writer.close()
        server.stop()
        return answer

    head, _, body = asyncio.run(scene()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"error": "this process ends; ask again once it runs again"}
