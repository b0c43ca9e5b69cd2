"""A service in processes of its own: what its command line has, and that it ends with who started it."""

import os
import threading

import pytest

from actors import config
from actors.cli.launch import Service

TEXT = """
[nsq]
nsqd_tcp_addresses = ["a:4150", "b:4150"]
nsqd_http_addresses = ["a:1", "b:2"]
topic = "views"
[dispatch]
deadline_s = 2.5
[publish]
url = "http://h:1/a?b=\\"ü\\""
stdout = false
ca_file = "ca.pem"
[counters_supervisor]
max_restarts = 7
"""


def given(service: Service) -> tuple[str, list[str]]:
    """The config file of a service's command line, and its overrides."""
    assert service.arguments[0] == "--config"
    assert set(service.arguments[2::2]) == {"--set"}
    return service.arguments[1], service.arguments[3::2]


def test_settings_that_were_read_from_a_pipe_reach_the_service_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_text, args=(TEXT,), kwargs={"encoding": "utf-8"})
    writing.start()
    overrides = ["dispatch.deadline_s=3"]
    expected = config.load(pipe, [*overrides, f"supervisor.state_dir={tmp_path / 'state'}"])
    writing.join()
    file, settings = given(Service(tmp_path / "state", overrides, pipe))
    monkeypatch.chdir("/")  # paths stay those of the folder where the pipe was read
    assert config.load(file, settings) == expected
    assert expected.publish.ca_file == str(tmp_path / "ca.pem")


@pytest.mark.parametrize("name", ["config.toml", None])
def test_a_file_is_handed_on_by_its_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("[dispatch]\ndeadline_s = 2.5\n")
    service = Service(tmp_path / "state", ["nsq.topic=views"], name)
    assert given(service) == (
        str(tmp_path / "config.toml"),
        ["nsq.topic=views", f"supervisor.state_dir={tmp_path / 'state'}"],
    )
