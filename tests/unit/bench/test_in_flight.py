"""What publishes at once cost and gain: only where the client is slow."""

import xml.etree.ElementTree as ET

from bench.in_flight import Found, draw, measure


def test_with_a_quick_client_they_cost_nothing():
    assert measure("quiet", 10, 8) == Found("quiet", 10, 8, *_figures(measure("quiet", 10, 1)))


def test_with_a_slow_client_quiet_plays_wait_less_for_more_publishes():
    alone, several = measure("quiet", 1000, 1), measure("quiet", 1000, 8)
    assert several.publishes_a_minute > 2 * alone.publishes_a_minute
    assert several.waited_ms < 1600 < alone.waited_ms


def test_with_a_slow_client_hot_videos_are_in_time_only_with_several():
    assert measure("hot", 1000, 8).waited_ms <= 60_000 < measure("hot", 1000, 1).waited_ms


def test_the_picture_has_a_chart_of_publishes_and_one_of_waits_for_each_load():
    found = [Found(load, 10, most, 100.0 * most, 50) for load in ("quiet", "hot") for most in (1, 8)]
    root = ET.fromstring(draw(found))
    assert len([one for one in root.iter() if one.tag.endswith("polyline")]) == 4


def _figures(found):
    return found.publishes_a_minute, found.waited_ms
