"""Every answer to a command names the child, its state and what to do, whatever state the tree is in."""

import asyncio
import fcntl
import json
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from tornado.testing import bind_unused_port

from actors.cli import admin_client
from actors.config import Settings
from actors.core import calls
from actors.service import admin
from actors.service.action_log import ActionLog
from actors.supervision.states import State
from actors.supervision.supervisor import Supervisor
from actors.system import runfile
from actors.system.exits import Failure
from actors.system.installation import service_command

COMMAND = service_command()
STOPPED, STARTING, RUNNING, STOPPING = State.STOPPED, State.STARTING, State.RUNNING, State.STOPPING


class Tree(Supervisor):
    """A supervisor with the dispatcher as its child, each in a given state. Nothing is started."""

    def __init__(self, state, own_state, restarting=False, closed=False, answers=True):
        self.state, self.spec = own_state, SimpleNamespace(id="root")
        self._child = SimpleNamespace(state=state, spec=SimpleNamespace(id="dispatcher"))
        self._child.call, self._child.stop = self._call, self._stop
        self._child.start = self._stop
        self._children = {} if state is None else {"dispatcher": self._child}
        self._pending = {"dispatcher": 1} if restarting else {}
        self._exits, self._closed, self._frozen, self._answers = {}, closed, False, answers
        self._rules = SimpleNamespace(terminated=lambda one: None, started=lambda one: None)

    async def _call(self, request, timeout_s):
        return calls.encode(calls.Answer("republish 1 (all videos)")) if self._answers else None

    async def _stop(self):
        pass

    def workers(self):
        return iter(self._children.values())

    def supervisors(self):
        return iter([self])

    def parent_of(self, child_id):
        return self if self._children and child_id == "dispatcher" else None

    root = property(lambda self: self)


def answer_of(tree, path, action, folder):
    """What the service answers: the code, and the words."""

    def ask(port):
        url, body = f"http://127.0.0.1:{port}/{path}", b'{"all": true}' if action == "republish" else b""
        headers = {"X-Playtally-Action": action, "Authorization": "Bearer of the run file"}
        request = urllib.request.Request(url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)["done"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["error"]

    async def scene():
        tree._child.spec.restart = None
        socket, port = bind_unused_port()
        service = SimpleNamespace(secret="of the run file", application=tree, actions=ActionLog(folder))
        server = admin.server(service)
        server.add_socket(socket)
        try:
            return await asyncio.to_thread(ask, port)
        finally:
            server.stop()

    return asyncio.run(scene())


AFRESH = f"to start it afresh, `{COMMAND} terminate dispatcher` first"
SOON = "try again in a moment"
STARTS = f"`{COMMAND} restart dispatcher` starts it"
ALL = f"`{COMMAND} restart root` starts it with its children"
WAIT = f"wait until it runs, or `{COMMAND} terminate dispatcher` to end"
BACK = f"it comes back by itself, unless it was terminated: then `{COMMAND} restart dispatcher`"
OBEYED = "a command to root itself is obeyed"


@pytest.mark.parametrize(
    ("action", "state", "more", "said"),
    [
        ("republish", RUNNING, {}, "republish 1 (all videos)"),
        ("republish", STOPPED, {}, f"dispatcher is stopped, expected running; {STARTS}"),
        (
            "republish",
            STOPPED,
            {"restarting": True},
            f"dispatcher is being restarted, expected running; {SOON}",
        ),
        ("republish", STARTING, {}, f"dispatcher is starting, expected running; {SOON}"),
        ("republish", STOPPING, {}, f"dispatcher is stopping, expected running; {SOON}"),
        (
            "republish",
            None,
            {},
            "dispatcher was deleted, expected running; restart the service to have it back",
        ),
        (
            "republish",
            RUNNING,
            {"answers": False},
            "dispatcher did not answer within 10 s, or ended meanwhile",
        ),
        ("restart", RUNNING, {}, f"dispatcher is running, expected stopped; {AFRESH}"),
        ("restart", STARTING, {}, f"dispatcher is starting, expected stopped; {WAIT} its start"),
        (
            "restart",
            STARTING,
            {"restarting": True},
            f"dispatcher is being restarted, expected stopped; {WAIT} that",
        ),
        (
            "restart",
            STOPPED,
            {"restarting": True},
            f"dispatcher is being restarted, expected stopped; {WAIT} that",
        ),
        ("restart", STOPPING, {}, "dispatcher is stopping, expected stopped; try again when it has stopped"),
        ("restart", STOPPED, {"closed": True}, "root stops, and starts nothing any more"),
        ("restart", STOPPED, {"own": STOPPED}, f"root is stopped, expected running; {OBEYED}; {ALL}"),
        ("restart", STOPPED, {"own": STARTING}, f"root is starting, expected running; {OBEYED}; {SOON}"),
        ("restart", STOPPED, {"own": STOPPING}, f"root is stopping, expected running; {OBEYED}; {SOON}"),
        ("restart", None, {}, "no child 'dispatcher', expected one of "),
        ("terminate", RUNNING, {"own": STOPPED}, f"root is stopped, expected running; {OBEYED}; {ALL}"),
        ("terminate", RUNNING, {"own": STOPPING}, f"root is stopping, expected running; {OBEYED}; {SOON}"),
        ("terminate", RUNNING, {}, "terminate dispatcher"),
        ("terminate", STOPPED, {"restarting": True}, "terminate dispatcher"),
        ("restart", STOPPED, {}, "restart dispatcher"),
        ("kill", STOPPED, {}, f"dispatcher is stopped and has no process just now; {BACK}"),
        ("kill", None, {}, "no child 'dispatcher', expected one of "),
        ("delete", RUNNING, {}, "dispatcher is running, expected stopped: terminate it first"),
    ],
)
def test_a_command_to_a_child_in_any_state_is_answered_with_what_to_do(tmp_path, action, state, more, said):
    tree = Tree(state, more.pop("own", RUNNING), **more)
    path = "republish" if action == "republish" else f"children/dispatcher/{action}"
    code, answer = answer_of(tree, path, action, tmp_path)
    assert answer.startswith(said), answer
    assert (code == 200) == (said in ("republish 1 (all videos)", f"{action} dispatcher"))
    if code == 409:
        assert answer == said


@pytest.mark.parametrize("ask", [admin_client.facts_of_service, admin_client.status])
def test_without_a_service_and_beside_one_that_starts_every_command_says_so(ask, tmp_path):
    settings = Settings(supervisor=Settings().supervisor.__class__(state_dir=str(tmp_path)))
    with pytest.raises(Failure, match=f"no service runs on .*; start one with `{COMMAND}`"):
        ask(settings)
    with open(runfile.lock_path(tmp_path), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Failure, match=r"can't be asked yet: it is starting or ending, .*; try again"):
            ask(settings)
