"""The demo says why it ended early, whatever ends it."""

import tempfile

from actors import config
from actors.cli import demo
from actors.cli.launch import Service
from actors.cli.parser import command_parser
from actors.system.exits import EXIT_FAILED


def test_a_service_that_is_gone_as_soon_as_it_runs_ends_the_demo_with_the_reason(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Service, "start", lambda self: None)  # it ran, and is gone: it left no run file
    assert demo.run(config.Settings(), command_parser().parse_args(["demo"])) == EXIT_FAILED
    assert "the demo ended early: the service does not run" in capsys.readouterr().err
