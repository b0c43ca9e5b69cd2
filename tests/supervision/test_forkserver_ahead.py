"""A forkserver that had a head start: it starts children, has no variable that could be secret, and ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
# The words that are looked for are read only once the forkserver has begun: else they would be in its memory.
PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from actors.supervision import forkserver_ahead
if __name__ == "__main__":
    held = os.open("held", os.O_CREAT | os.O_WRONLY)
    os.set_inheritable(held, True)
    preload = ["tests.support.actors_for_tests", "import_that_takes_long", "import_that_is_last"]
    forkserver_ahead.begin(["json"], preload, "program")
    from actors.supervision import forkserver
    from tests.support.memory import words_in_memory
    from tests.supervision.test_tree import Tree, child
    begun = forkserver_ahead._started[0].pid
    forkserver.prepare([], sys.argv[2:])
    forkserver.begin()
    words = Path("words").read_text().split()

    async def scenario():
        tree = Tree(Path(sys.argv[1]), child("a", environment=("NAMED",)))
        await tree.root.start()
        told = {"is_it": begun == forkserver.pid(), "pid": begun}
        pids = {"forkserver": forkserver.pid(), "a": tree.worker("a").process.pid, "program": os.getpid()}
        try:
            for name, pid in pids.items():
                proc = Path(f"/proc/{pid}")
                files = [os.path.realpath(one) for one in (proc / "fd").iterdir()]
                memory, title = words_in_memory(pid, words), (proc / "cmdline").read_text()
                told[name] = {"memory": memory, "title": title, "files": files}
        except FileNotFoundError:  # no /proc
            pass
        told["all_imported_early"] = os.path.exists("imported")
        Path("go").touch()
        while told["is_it"] and not os.path.exists("imported"):
            await asyncio.sleep(0.01)
        await tree.root.stop()
        print(json.dumps(told))

    asyncio.run(scenario())
"""
VALUES = {"NAMED": "4a-for-the-child", "SECRET": "b1-for-nobody", "OTHER": "c7-who-knows", "LANG": "C"}


TAKES_LONG = """
import time
from pathlib import Path
while not Path("go").exists():
    time.sleep(0.001)
"""


def told_by(tmp_path, *withheld):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "import_that_takes_long.py").write_text(TAKES_LONG)
    (tmp_path / "import_that_is_last.py").write_text("open('imported', 'w').close()\n")
    (tmp_path / "words").write_text(" ".join(VALUES.values()))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path), *withheld],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **VALUES},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc: the memory of a process is seen there")
def test_it_starts_the_children_has_no_other_variable_in_its_memory_and_ends_with_its_program(tmp_path):
    told = told_by(tmp_path, "NAMED", "SECRET")
    assert told["is_it"]
    secrets = {"4a-for-the-child", "b1-for-nobody", "c7-who-knows"}
    assert set(told["program"]["memory"]) >= secrets  # what is there is found
    assert not set(told["forkserver"]["memory"]) & secrets
    # what its spec names, and what is not withheld
    assert set(told["a"]["memory"]) & secrets == {"4a-for-the-child", "c7-who-knows"}
    wait_until(lambda: not psutil.pid_exists(told["pid"]), "the forkserver to end")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc: what a process has open is seen there")
def test_it_keeps_nothing_open_that_its_program_has(tmp_path):
    told = told_by(tmp_path)
    held = str(tmp_path / "held")
    assert held in told["program"]["files"]
    assert held not in told["forkserver"]["files"] + told["a"]["files"]
    assert "program: multiprocessing.forkserver" in told["forkserver"]["title"]


def test_one_that_has_what_is_withheld_is_not_used(tmp_path):
    told = told_by(tmp_path, "PATH")
    assert not told["is_it"]
    wait_until(lambda: not psutil.pid_exists(told["pid"]), "the forkserver to end")


def test_it_starts_children_before_it_has_imported_everything_and_imports_the_rest(tmp_path):
    told = told_by(tmp_path)
    assert told["is_it"] and not told["all_imported_early"]  # the child ran already
    assert (tmp_path / "imported").exists()
