"""Odd surroundings: no HOME, closed streams, small limits, strange names, any encoding; nothing is left."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from actors.cli.launch import COMMAND
from actors.system import runfile
from actors.system.installation import environment
from tests.support.needed import need_root
from tests.support.patience import PATIENCE_S, wait_until
from tests.support.services import ANY_PORTS, HURRIED, ServiceWithQueue, wait_caught_up

VIDEO = "00000000-0000-4000-8000-000000000001"
PLAY = f'{{"video_id": "{VIDEO}"}}'.encode()
CONFIG = """[nsq]
topic = "views"
[supervisor]
state_dir = "Zustand ☃"
[embedded_nsqd]
tcp_address = "127.0.0.1:0"
http_address = "127.0.0.1:0"
[client]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
"""


class OddService(ServiceWithQueue):
    """A service in a folder with a strange name, with its settings from a pipe, and closed streams."""

    def __init__(self, folder: Path, umask: int, limit: int):
        super().__init__(folder / "Zustand ☃")
        self.log_file = folder / "log"
        self.folder, self.umask, self.limit = folder, umask, limit
        self.long = folder.joinpath(*["x" * 100] * 3)
        self.long.mkdir(parents=True, exist_ok=True)

    def start(self, stdout: int | None = None, stderr: int | None = None) -> None:
        """Start it, and wait until all its children run."""
        ours = environment()
        kept = {name: ours[name] for name in ("PATH", "PYTHONPATH", "PYTHONSAFEPATH") if name in ours}
        reads, writes = os.pipe()
        with open(self.log_file, "ab") as log, open(reads, "rb"):
            with open(writes, "wb") as pipe:
                pipe.write(b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode())
            start = f'umask {self.umask:03o}; ulimit -n {self.limit}; exec <&- >&- "$@"'
            self.process = subprocess.Popen(
                ["sh", "-c", start, "sh", *self.program, "--config", f"/dev/fd/{reads}"],
                env={**kept, "LANG": "C", "TMPDIR": str(self.long)},
                cwd=self.folder,
                pass_fds=[reads],
                stderr=log,
                start_new_session=True,  # it has no terminal
            )
        wait_until(lambda: self.ended or self.facts(), "the service to start")
        assert not self.ended, self.log()


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ein Ördner")
    (folder / "Zustand ☃").mkdir()
    (folder / "Zustand ☃").chmod(0o777)
    service = OddService(folder, 0o000, 256)
    try:
        service.start()
        yield service
    finally:
        service.end()


def modes_of(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in [folder, *folder.rglob("*")]}


def test_a_service_in_odd_surroundings_counts_and_publishes(odd):
    odd.queue.put("views", *[PLAY] * 50)
    wait_caught_up(odd, 50)
    assert odd.totals() == {VIDEO: 50}
    assert "Traceback" not in odd.log()


def test_its_state_is_its_owners_alone_whatever_the_umask_is(odd):
    assert modes_of(odd.state_dir) == {0}
    assert f"{odd.state_dir}: other users had access, and only its owner has it from now on" in odd.log()


def test_it_says_what_it_can_not_do_with_256_descriptors(odd):
    assert "may open 256 files: each address that it listens on takes at most 64 connections" in odd.log()


def test_its_reload_says_that_a_pipe_can_not_be_read_again(odd):
    ran = command(odd, "reload")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"not looked at: the settings came from a pipe" in ran.stdout


def command(service, *words, encoding="utf-8"):
    """Run a command with its output in that encoding, as on a terminal that has it."""
    return subprocess.run(
        [*COMMAND, *words, "--set", f"supervisor.state_dir={service.state_dir}"],
        env={**environment(), "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("words", [["status"], ["config"], ["totals", "--verify"]], ids=" ".join)
def test_commands_print_on_a_terminal_of_any_encoding(odd, words, encoding):
    ran = command(odd, *words, encoding=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = ran.stdout.decode(encoding)
    if words == ["status"]:
        branches = ("├─", "└─") if encoding == "utf-8" else ("|-", "`-")
        assert all(branch in shown for branch in branches)
    else:
        assert odd.folder.name.encode(encoding, "replace").decode(encoding) in shown


def test_it_ends_in_order_and_leaves_nothing_in_the_folder_for_temporary_files(odd):
    assert odd.stop() == 0
    assert list(odd.long.iterdir()) == []
    assert not (odd.state_dir / "run").exists()


def test_a_state_with_umask_077_and_one_that_was_wider_are_the_same(odd):
    """Runs after the others of this file: it changes the modes of the state that they used."""
    odd.end()
    for path in [odd.state_dir, *odd.state_dir.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o055)
    before = len(odd.log())
    odd.umask = 0o077
    odd.start()
    assert modes_of(odd.state_dir) == {0}
    said = [line for line in odd.log()[before:].splitlines() if "other users had access" in line]
    assert len(said) == 1
    assert odd.stop() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONFIG.encode("utf-16"), "it is UTF-16, expected UTF-8: save it as UTF-8"),
        (CONFIG.replace("☃", "ü").encode("latin-1"), "the byte 0xfc, which is not UTF-8 (is it Latin-1?)"),
    ],
    ids=["UTF-16", "Latin-1"],
)
def test_a_file_in_another_encoding_is_refused_in_a_line(content, said, tmp_path):
    (tmp_path / "real.toml").write_bytes(content)
    (tmp_path / "link.toml").symlink_to("real.toml")
    ran = subprocess.run(
        [*COMMAND, "run", "--config", tmp_path / "link.toml"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_state_of_another_user_is_refused_in_words(tmp_path):
    need_root()
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 65534, -1)
    service = ServiceWithQueue(tmp_path / "state", ANY_PORTS)
    for words in (["run"], ["reshard"], ["check", "--json"]):
        ran = service.command(*words)
        assert ran.returncode == 1, ran
        assert f"{tmp_path / 'state'}: belongs to the user " in ran.stderr + ran.stdout
        assert "Traceback" not in ran.stderr
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("module", ["client", "embedded_nsqd"])
def test_a_part_that_runs_alone_keeps_its_files_for_its_user(module, tmp_path):
    addresses = {"client": ["--address"], "embedded_nsqd": ["--tcp-address", "--http-address"]}[module]
    words = [word for option in addresses for word in (option, "127.0.0.1:0")]
    path = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-m", f"actors.{module}", *words, "--data-path", path],
        env=environment(),
        stderr=subprocess.DEVNULL,
        umask=0o000,
    )
    try:
        wait_until(lambda: path.exists() and any(path.glob("*.sqlite")), "its store")
    finally:
        process.terminate()
        process.wait()
    assert modes_of(path) == {0}


def tree_of(process: subprocess.Popen) -> list[psutil.Process]:
    """A process and all below it."""
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def test_after_kills_of_everything_the_next_start_leaves_nothing_behind():
    """A demo with all its processes, and a service whose path is too long for a socket."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        patch.setenv("TMPDIR", str(temporary))
        service = ServiceWithQueue(Path(folder) / ("y" * 100), [*ANY_PORTS, *HURRIED])
        demo = subprocess.Popen(
            [*COMMAND, "demo", "--plays", "1000", "--seconds", "600"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        victims = []
        try:
            service.start()
            wait_until(lambda: started(temporary), "the demo's service to start")
            victims = [*tree_of(service.process), *tree_of(demo)]
        finally:
            for one in victims or tree_of(demo):
                with contextlib.suppress(psutil.Error):
                    one.kill()
            demo.wait()
            service.end()
        wait_until(lambda: not any(map(is_running, victims)), "all to be gone")
        # Of a killed process that counts as gone, a thread may live a little longer, with its locks.
        states = [one / "state" for one in temporary.glob("playtally-demo-*")]
        wait_until(lambda: not any(map(runfile.is_held, states)), "the locks to be released")
        assert names_in(temporary) == ["demo", "sockets"]
        with service:
            assert names_in(temporary) == ["sockets"]
            assert service.stop() == 0
        assert names_in(temporary) == []


def names_in(temporary: Path) -> list[str]:
    """What the scratch folders that are there are for."""
    return sorted(one.name.split("-")[1] for one in temporary.iterdir())


def is_running(process: psutil.Process) -> bool:
    """Whether it still does something. A zombie does not: whose child it is now, may never wait for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def started(temporary: Path) -> bool:
    """Whether the service of a demo runs."""
    return any(runfile.read(one / "state") for one in temporary.glob("playtally-demo-*"))
