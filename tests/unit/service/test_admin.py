"""Commands over the admin HTTP: each is answered in time, whatever the child does."""

import asyncio
import json
import urllib.error
import urllib.request
from types import SimpleNamespace

from tornado.testing import bind_unused_port

from actors.service import actions, admin
from actors.service.action_log import ActionLog
from actors.supervision.restarts import SpecError
from actors.supervision.states import State

SECRET = "of the run file"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


class Hanging:
    """A supervisor whose child does not end until it is let go."""

    def __init__(self) -> None:
        self.state = State.RUNNING
        self.let_go = asyncio.Event()
        self.ended = False

    def is_restarting(self, child_id: str) -> bool:
        return False

    def which_children(self) -> list[object]:
        return []

    async def terminate_child(self, child_id: str) -> None:
        await self.let_go.wait()
        self.ended = True

    async def restart_child(self, child_id: str) -> None:
        raise SpecError("it is stopping, expected stopped")


def post(port: int, action: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}/children/one/{action}"
    request = urllib.request.Request(url, method="POST", headers=HEADERS | {"X-Playtally-Action": action})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def test_a_command_that_takes_too_long_is_answered_and_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(actions, "ACTION_ANSWER_S", 0.2)

    async def scene() -> None:
        supervisor = Hanging()
        service = SimpleNamespace(
            secret=SECRET,
            application=SimpleNamespace(parent_of=lambda child_id: supervisor),
            actions=ActionLog(tmp_path),
        )
        socket, port = bind_unused_port()
        server = admin.server(service)
        server.add_socket(socket)
        storm = [asyncio.to_thread(post, port, "terminate") for _ in range(20)]
        refused = asyncio.to_thread(post, port, "restart")
        *answers, conflict = await asyncio.gather(*storm, refused)
        assert set(answers) == {(504, "terminate one is not done after 0.2 s; it goes on")}
        assert conflict == (409, "it is stopping, expected stopped")
        assert not supervisor.ended
        supervisor.let_go.set()
        await asyncio.sleep(0)
        while not supervisor.ended:
            await asyncio.sleep(0.01)
        server.stop()
        await server.close_all_connections()

    asyncio.run(scene())
