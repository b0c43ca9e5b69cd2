"""The forkserver while it starts: what reaches the whole process group does not end it in its imports."""

import multiprocessing.forkserver
import subprocess
import sys
from pathlib import Path

from actors.supervision import forkserver
from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]

SIGNALS_ITSELF = """
import os, signal
for number in (signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
"""

STARTS_A_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path

from actors.supervision import forkserver
from tests.supervision.test_tree import Tree, child

async def scenario():
    tree = Tree(Path(sys.argv[1]), child("a"))
    await tree.root.start()
    before = forkserver.pid()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(before, number)
    await tree.kill("a", signal.SIGTERM)
    await tree.until(lambda: any("SIGTERM" in one or "a#1" in one for one in tree.exits), "its end")
    print(forkserver.pid() == before, len(tree.exits))
    await tree.root.stop()

if __name__ == "__main__":
    forkserver.prepare(["signals_itself"])
    asyncio.run(scenario())
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


def test_a_signal_to_all_processes_does_not_end_the_forkserver_in_its_imports(tmp_path):
    (tmp_path / "signals_itself.py").write_text(SIGNALS_ITSELF)
    (tmp_path / "starts_a_child.py").write_text(STARTS_A_CHILD)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "starts_a_child.py"), str(tmp_path)],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=ROOT,
    )
    assert done.stdout.splitlines() == ["True 1", "set()"], done.stderr
    assert "Traceback" not in done.stderr
    assert "trying again" not in done.stderr


def test_why_a_child_could_not_be_started_names_the_socket_or_the_limit(monkeypatch):
    monkeypatch.setattr(multiprocessing.forkserver._forkserver, "_forkserver_address", "/state/run/socket")
    refused = forkserver.why_not_started(PermissionError(13, "Permission denied"))
    assert refused == "the forkserver can't be reached at /state/run/socket, its socket (Permission denied)"
    assert "ulimit -u" in forkserver.why_not_started(EOFError("unexpected EOF"))
