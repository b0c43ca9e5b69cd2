"""A service as the first process of something like a container: namespaces of its own, a read-only root.

Made with util-linux's `unshare`. Many machines do not permit that, such as most containers, and CI may run in
one. So a test is skipped there with the reason, in CI too.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actors.system.installation import environment
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import ServiceWithQueue, wait_for

NAMESPACES = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--uts", "--mount-proc"]
HOST_NAME = b"k\xfcche\xff\x1b]0;X\x07\r\nforged\x9b"  # neither ASCII nor UTF-8, and hostile
# The state is the only volume that can be written. No stdin and no stdout.
_SET_UP = """
set -e
"$PYTHON" -c 'import socket, sys; socket.sethostname(bytes.fromhex(sys.argv[1]))' "$HOST"
mount --bind "$STATE" "$STATE"
mount -o remount,bind,ro /
if touch "$STATE/../x" 2>/dev/null; then echo "the root is not read-only" >&2; exit 77; fi
touch "$STATE/x"; rm "$STATE/x"
if [ -n "$1" ]; then exec <&- >&- "$@"; fi
"""


@functools.cache
def _why_not(folder: Path) -> str:
    missing = [program for program in ("unshare", "nsenter", "mount") if shutil.which(program) is None]
    if missing:
        return f"no {', '.join(missing)} on PATH (util-linux)"
    (folder / "try").mkdir()
    tried = _run([*NAMESPACES, "sh", "-c", _SET_UP, "sh"], folder / "try")
    return "" if tried.returncode == 0 else f"no container can be made here: {tried.stderr.strip()}"


def need_containers(folder: Path) -> None:
    """Skip the test where no container can be made. `folder`: an empty one to try it in."""
    reason = _why_not(folder)
    if reason:
        pytest.skip(reason)


def _run(words: list[str], state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=_environment(state), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def _environment(state: Path) -> dict[str, str]:
    """What a container hands over: no HOME, no language, and here a long TMPDIR that does not exist."""
    ours = environment()
    kept = {name: ours[name] for name in ("PATH", "PYTHONPATH", "PYTHONSAFEPATH") if name in ours}
    own = {"PYTHON": sys.executable, "STATE": str(state), "HOST": HOST_NAME.hex(), "LANG": "C"}
    return {**kept, **own, "TMPDIR": "/tmp/" + "/".join(["x" * 100] * 3)}


class Container(ServiceWithQueue):
    """A service that is pid 1."""

    def start(self, stdout: int | None = None, stderr: int | None = None) -> None:
        """Start it, and wait until all its children run."""
        self.launch()
        wait_for(lambda: self.ended or self.facts(), "the service to start", PATIENCE_S, tell=self.log)
        assert not self.ended, self.log()

    def launch(self) -> None:
        """Start it, and wait until its first process is there."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*NAMESPACES, "--kill-child", "sh", "-c", _SET_UP, "sh", *self.program, *self.arguments],
                env=_environment(self.state_dir),
                stdout=log,
                stderr=log,
            )
        starter = psutil.Process(self.process.pid)
        wait_until(lambda: self.ended or starter.children(), "the first process")

    def end(self) -> None:
        """End it if it runs: all that is in a container ends with its first process."""
        if self.process is not None and not self.ended:
            self.first().kill()
            self.process.wait()

    def first(self) -> psutil.Process:
        """The first process of the container."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children()[0]

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container, as `docker exec` does."""
        enter = ["nsenter", "--target", str(self.first().pid), "--user", "--preserve-credentials"]
        return _run([*enter, "--pid", "--mount", "--uts", *words], self.state_dir)

    def command_inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `supervisor.py` in the container."""
        return self.inside(*self.program[:-1], words[0], *self.arguments, *words[1:])

    def stop(self) -> int:
        """Stop it with SIGTERM to the first process, as `docker stop` does."""
        assert self.process is not None
        os.kill(self.first().pid, signal.SIGTERM)
        return self.process.wait(PATIENCE_S)
