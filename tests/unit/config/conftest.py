"""What the tests of the settings share."""

import pytest


@pytest.fixture
def file(tmp_path):
    """Write a config file; its path."""

    def write(text=""):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text("")
    return path
