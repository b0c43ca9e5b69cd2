"""The benchmark of many videos: the state that it makes, and the picture that it draws."""

import contextlib
from xml.etree import ElementTree as ET

import msgspec
import pytest

from actors.client.store import ClientStore
from actors.core import guids
from actors.core.client.promises import Promises
from actors.store import SqliteLedgerStore
from actors.store.verify import verify
from bench import many, many_state
from bench.many_picture import Line, by_decade, by_video

VIDEOS = 400


def test_each_video_of_the_state_is_counted_once_and_the_client_has_its_total(tmp_path):
    many_state.make(tmp_path / "state", VIDEOS)
    findings = verify(str(tmp_path / "state"))
    assert findings
    assert [str(one) for one in findings if one.wrong] == []
    known = set()
    for shard in range(many_state.SHARDS):
        store = SqliteLedgerStore(str(tmp_path / "state"), shard, many_state.SHARDS, "NORMAL")
        accounts, _, tallies = store.load()
        store.close()
        assert tallies.counted == VIDEOS // many_state.SHARDS
        made = many_state.videos_of(shard, VIDEOS)
        assert {video for video, _ in accounts.items()} == {
            made[at : at + 16] for at in range(0, len(made), 16)
        }
        assert all((one.total, one.published, one.pending) == (1, 1, False) for _, one in accounts.items())
        known |= {guids.text(video) for video, _ in accounts.items()}
    assert len(known) == VIDEOS
    with contextlib.closing(ClientStore(tmp_path / "state" / "client")) as client:
        audit = client.load(Promises())
        assert dict(audit.totals()) == dict.fromkeys(known, 1)


@pytest.mark.parametrize(("go_on", "last"), [(by_video, 2.0 + 98.0), (by_decade, 2.0 + 2.0)])
def test_a_line_goes_on_by_its_last_two_points(go_on, last):
    line = go_on([(10**6, 2.0), (10**5, 1.0)] if go_on is by_decade else [(2e6, 2.0), (1e6, 1.0)])
    assert line.measured[-1][1] == 2.0
    assert line.beyond[-1] == (10.0**8, pytest.approx(last))
    assert [x for x, _ in line.beyond] == [10.0**7, 10.0**8]


def test_a_line_never_goes_down_and_one_point_tells_no_slope():
    assert {y for _, y in by_video([(1e5, 3.0), (1e6, 2.0)]).beyond} == {2.0}
    assert by_video([(1e5, 3.0)]) == Line([(1e5, 3.0)])


def test_the_picture_has_a_whole_and_a_dashed_line_for_each_figure():
    figures = [
        many.Many(videos, *(1.0 + place for place in range(len(many.Many.__struct_fields__) - 1)))
        for videos in many.VIDEOS
    ]
    text = many.many_picture.draw(many.charts(figures))
    root = ET.fromstring(text)
    lines = [one.attrib["stroke-dasharray"] for one in root.iter() if one.tag.endswith("polyline")]
    series = sum(len(chart.lines) for chart in many.charts(figures))
    assert lines == ["", "5 5"] * series
    assert "prefers-color-scheme:dark" in text
    told = [one.text for one in root.iter() if one.tag.endswith("title")]
    assert "totals, 5,000,000 videos: 11" in told


def test_figures_that_were_kept_are_drawn_again_without_a_measurement(tmp_path, capsys):
    figures = [many.Many(100, *([1.0] * (len(many.Many.__struct_fields__) - 1)))]
    (tmp_path / "figures.json").write_bytes(msgspec.json.encode(figures))
    many.main(["--from", str(tmp_path / "figures.json"), "--draw", str(tmp_path / "picture.svg")])
    assert (tmp_path / "picture.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "many videos" in capsys.readouterr().out
