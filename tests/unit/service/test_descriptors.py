"""The limit of open files: too few are refused with what to do, and few are said to bound the listeners."""

import resource

import pytest

from actors.config import CountersSection, NsqSection, PublishSection, Settings
from actors.service import descriptors
from actors.system.exits import Failure
from actors.tree import children_of, root_spec


def check(limit, monkeypatch, **sections):
    settings = Settings(**sections)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    return descriptors.check(settings, children_of(root_spec(settings)))


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 1_048_576, 4_000])
def test_many_are_enough(limit, monkeypatch):
    assert check(limit, monkeypatch) == ""


def test_256_are_enough_and_it_is_said_how_many_connections_that_means(monkeypatch):
    said = check(256, monkeypatch)
    assert "may open 256 files" in said
    assert "takes at most 64 connections at once" in said
    assert "(ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of a container) to 4,000" in said


@pytest.mark.parametrize(
    ("limit", "sections", "said"),
    [
        (32, {}, "expected at least 64, which the supervisor may need"),
        (256, {"counters": CountersSection(shards=64)}, "or set counters.shards lower"),
        (256, {"publish": PublishSection(in_flight_max=256)}, "or set publish.in_flight_max lower"),
        (256, {"nsq": NsqSection(nsqd_tcp_addresses=["10.0.0.1:4150"] * 250)}, "which the consumer may need"),
    ],
)
def test_too_few_are_refused_with_what_to_do(limit, sections, said, monkeypatch):
    with pytest.raises(Failure) as refused:
        check(limit, monkeypatch, **sections)
    assert f"may open {limit} files" in str(refused.value)
    assert said in str(refused.value)
