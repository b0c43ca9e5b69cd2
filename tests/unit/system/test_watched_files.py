"""Values from files that change while a process runs."""

import logging
import os

import pytest

from actors.system.exits import Failure
from actors.system.watched_files import LOOK_EVERY_S, WatchedFiles


class Clock:
    """Seconds, as the test says."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("first")
    return path


def watched(file, clock):
    def read():
        text = file.read_text() if file.exists() else ""
        if not text:
            raise Failure(f"{file} is empty; expected a secret")
        return text

    return WatchedFiles([str(file), ""], read, clock)


def replaced(file, text):
    other = file.with_name("other")
    other.write_text(text)
    os.replace(other, file)


def linked(file, text):
    """As Kubernetes does it: the file is a link into a folder of this version."""
    other = file.with_name(f"version-{text}")
    other.write_text(text)
    link = file.with_name("link")
    link.symlink_to(other)
    os.replace(link, file)


def written(file, text):
    file.write_text(text)


@pytest.mark.parametrize("change", [replaced, linked, written])
def test_a_file_that_changes_is_read_again(file, clock, change):
    files = watched(file, clock)
    assert files.value() == "first"
    for text in ("second", "another"):
        change(file, text)
        clock.now_s += LOOK_EVERY_S
        assert files.value() == text


def test_the_looks_are_at_most_one_a_second(file, clock):
    files = watched(file, clock)
    replaced(file, "second")
    clock.now_s += LOOK_EVERY_S / 2
    assert files.value() == "first"
    clock.now_s += LOOK_EVERY_S / 2
    assert files.value() == "second"


@pytest.mark.parametrize("harm", ["gone", "empty"])
def test_what_can_not_be_used_leaves_the_value_as_it_was_and_is_said_once(file, clock, caplog, harm):
    caplog.set_level(logging.INFO)
    files = watched(file, clock)
    if harm == "gone":
        file.unlink()
    else:
        file.write_text("")
    for _ in range(3):
        clock.now_s += LOOK_EVERY_S
        assert files.value() == "first"
    assert caplog.text.count("is empty; expected a secret; what was read before stays in force") == 1
    file.write_text("second")
    clock.now_s += LOOK_EVERY_S
    assert files.value() == "second"


def test_it_is_read_at_once_when_that_is_asked_and_what_can_not_be_used_is_a_failure(file, clock):
    files = watched(file, clock)
    replaced(file, "second")
    files.reload()
    assert files.value() == "second"
    file.unlink()
    with pytest.raises(Failure, match="expected a secret"):
        files.reload()
    assert files.value() == "second"


def test_without_a_value_at_the_start_there_is_a_failure(file, clock):
    file.unlink()
    with pytest.raises(Failure):
        watched(file, clock)


def test_without_a_file_nothing_is_read_again(clock):
    readings = iter(["once"])
    files = WatchedFiles(["", ""], lambda: next(readings), clock)
    clock.now_s += 10 * LOOK_EVERY_S
    assert files.value() == "once"
