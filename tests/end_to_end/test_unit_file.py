"""docs/playtally.service: systemd takes it, and its command is one of ours."""

import re
import shlex
import shutil
import subprocess

import pytest

from actors import config
from actors.cli.parser import command_parser
from actors.system.exits import EXIT_STORE, EXIT_USAGE
from actors.system.installation import ROOT
from tests.support.patience import PATIENCE_S

UNIT = (ROOT / "docs" / "playtally.service").read_text(encoding="utf-8")


def value_of(key: str) -> str:
    [found] = re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)
    return found


def test_its_command_runs_the_service_with_settings_that_are_right(tmp_path):
    (tmp_path / "config.toml").write_text(config.example())
    program, *words = shlex.split(value_of("ExecStart"))
    words[words.index("/etc/playtally/config.toml")] = str(tmp_path / "config.toml")
    options = command_parser().parse_args(words)
    settings = config.load(options.config, options.set)
    assert (program.rpartition("/")[2], options.command.__name__) == ("playtally", "run")
    assert settings.supervisor.state_dir == f"/var/lib/{value_of('StateDirectory')}"
    assert not settings.publish.stdout


def test_it_gives_the_service_its_time_and_does_not_repeat_what_needs_a_person():
    assert (
        float(value_of("TimeoutStopSec")) >= 8 * config.load("/dev/null").supervisor.shutdown_timeout_s + 10
    )
    assert value_of("RestartPreventExitStatus").split() == [str(EXIT_USAGE), str(EXIT_STORE)]
    assert value_of("UMask") == "0077"


def test_systemd_takes_it(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on PATH: it checks the unit, on systems with systemd alone")
    program, unit = tmp_path / "playtally", tmp_path / "playtally.service"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    # systemd looks for the program and the user.
    text = UNIT.replace("/opt/playtally/bin/playtally", str(program)).replace("User=playtally", "User=root")
    unit.write_text(text)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = [line for line in ran.stderr.splitlines() if "playtally" in line]
    assert (ran.returncode, said) == (0, []), ran.stderr
