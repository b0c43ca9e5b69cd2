"""A stored state of each format that ever was: today's service opens it, loses nothing, and goes on.

`tests/formats/make.py` made these states.
"""

import json
from pathlib import Path

import pytest

from actors.core import guids
from actors.store import TotalsReader
from tests.formats.make import unpack
from tests.support.services import PATIENT, open_service, wait_caught_up

FORMATS = sorted((Path(__file__).parents[1] / "formats").glob("*.json"))
TOLD_ABOUT = "00000000-0000-4000-8000-000000000002"


def test_there_is_a_state_of_the_first_format():
    assert "first" in [one.stem for one in FORMATS]


@pytest.mark.parametrize("facts", FORMATS, ids=lambda path: path.stem)
def test_a_state_of_an_earlier_format_is_opened_and_goes_on(facts, tmp_path):
    expected = json.loads(facts.read_text())
    unpack(facts.stem, tmp_path)
    totals = {bytes.fromhex(video): total for video, total in expected["totals"].items()}
    # With this window the stored message ids are forgotten at once, so the age of the state does not matter.
    settings = ["dispatch.deadline_s=2", "counters.dedupe_window_s=1"]
    with open_service("embedded", tmp_path, *PATIENT, *settings) as service:
        service.start()
        service.queue.put("plays", b'{"video_id": "%b"}' % TOLD_ABOUT.encode())
        wait_caught_up(service, sum(totals.values()) + 1)
        assert len(service.queue.take("later", expected["left"])) == expected["left"]
    totals[guids.parse(TOLD_ABOUT)] += 1
    rows = TotalsReader(str(service.state_dir)).read()
    assert {video: total for video, total, _ in rows} == totals
    assert {video: published for video, _, published in rows} == totals
