"""A forkserver that had a head start: it starts children, has no variable that could be secret, and ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from actors.supervision import forkserver_ahead
if __name__ == "__main__":
    forkserver_ahead.begin(["tests.support.actors_for_tests"], os.environ)
    from actors.supervision import forkserver
    from tests.supervision.test_tree import Tree, child
    begun = forkserver_ahead._started[0].pid
    forkserver.prepare([], sys.argv[2:])
    forkserver.begin()

    async def scenario():
        tree = Tree(Path(sys.argv[1]), child("a", environment=("NAMED",)))
        await tree.root.start()
        seen = {}
        environment = Path(f"/proc/{begun}/environ")
        if begun == forkserver.pid() and environment.exists():
            seen = {line.partition("=")[0] for line in environment.read_text().split(chr(0)) if line}
        await tree.root.stop()
        print(json.dumps([begun == forkserver.pid(), begun, sorted(seen)]))

    asyncio.run(scenario())
"""


def told_by(tmp_path, *withheld):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path), *withheld],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "NAMED": "x", "SECRET": "y", "OTHER": "z"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_starts_the_children_has_no_other_variable_and_ends_with_its_program(tmp_path):
    is_it, pid, variables = told_by(tmp_path, "NAMED", "SECRET")
    assert is_it
    assert not {"NAMED", "SECRET", "OTHER"} & set(variables)
    wait_until(lambda: not psutil.pid_exists(pid), "the forkserver to end")


def test_one_that_has_what_is_withheld_is_not_used(tmp_path):
    is_it, pid, _ = told_by(tmp_path, "PATH")
    assert not is_it
    wait_until(lambda: not psutil.pid_exists(pid), "the forkserver to end")
