"""A cluster of real NSQ programs for a test, made by our own command `cluster`.

    with open_cluster(tmp_path, "--nsqd", "3", "--nsqlookupd", "2") as cluster:
        cluster.nsqd(0).post("/pub?topic=plays", body)
        Service(tmp_path / "state", cluster.settings)

The ports are free ones. It ends with its `with`, and when the test's process does. Without the binaries the
test is skipped with a reason; with CI=true it fails.
"""

import contextlib
import json
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from actors.cli.launch import COMMAND
from actors.cluster import control
from actors.system import lifeline
from actors.system.installation import environment
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.queues import QueueHttp, require_nsqd


class ClusterProcess:
    """A cluster in processes of its own. `folder`: its --data-dir. `words`: its options."""

    def __init__(self, folder: Path, *words: str, port: int = 0):
        require_nsqd()
        for program in ("nsqlookupd", "nsqadmin"):
            if any(word.startswith(f"--{program}") for word in words):
                require_nsqd(program)
        self.folder = folder
        self.words = [*words, "--port", str(port), "--data-dir", str(folder)]
        self._out, self._err = folder.with_suffix(".out"), folder.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until all nodes answer."""
        self.launch()
        wait_until(lambda: self.ended or self.pasted(), "the cluster to start")
        assert not self.ended, self.log()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        with open(self._out, "wb") as out, open(self._err, "ab") as err:
            self.process = subprocess.Popen(
                [*COMMAND, "cluster", *self.words],
                env=lifeline.hand_on(environment()),
                pass_fds=[lifeline.descriptor()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self.process

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def pasted(self) -> str:
        """What it printed on stdout."""
        return self._out.read_text()

    @property
    def nsq(self) -> dict[str, Any]:
        """The section [nsq] that it printed."""
        section: dict[str, Any] = tomllib.loads(self.pasted())["nsq"]
        return section

    @property
    def settings(self) -> list[str]:
        """What it printed, as settings for a service's --set."""
        return [f"nsq.{key}={json.dumps(value)}" for key, value in self.nsq.items()]

    def nsqd(self, number: int = 0) -> QueueHttp:
        """The HTTP interface of an nsqd, without TLS."""
        return QueueHttp(self.address(f"nsqd-{number}", "http"))

    def address(self, node: str, kind: str = "tcp") -> str:
        """A node's "host:port" for "tcp", "http" or "https"."""
        words = self.node(node)
        return words[words.index(kind) + 1]

    def pid(self, node: str) -> int | None:
        """The process id of a node's program; None while it does not run."""
        words = self.node(node)
        return int(words[words.index("pid") + 1]) if "pid" in words else None

    def node(self, name: str) -> list[str]:
        """What `cluster status` says of a node, in words."""
        lines = control.ask(self.folder, "status").splitlines()
        return next(words for words in map(str.split, lines) if words[0] == name)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `cluster stop`, say, on this one. `words`: the action, and the node."""
        return subprocess.run(
            [*COMMAND, "cluster", *words, "--data-dir", str(self.folder)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
        )

    def act(self, action: str, node: str) -> str:
        """Do as `do` does, without a process for the command."""
        return control.ask(self.folder, action, node) + "\n"

    def do(self, *words: str) -> str:
        """Run such a command, which has to succeed. Returns what it said."""
        ran = self.command(*words)
        assert (ran.returncode, ran.stderr) == (0, ""), (ran, self.log())
        return ran.stdout

    def log(self) -> str:
        return self._err.read_text(errors="replace")

    def stop(self) -> int:
        """End it with SIGTERM. Returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if not self.ended:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()


@contextlib.contextmanager
def open_cluster(path: Path, *words: str) -> Iterator[ClusterProcess]:
    """A running cluster with these options. Its data is under `path`."""
    cluster = ClusterProcess(path / "cluster", *words)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
