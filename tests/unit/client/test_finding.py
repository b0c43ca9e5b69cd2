"""A video is found by the start of its GUID, in every form in which people write it."""

import asyncio
import json
import urllib.parse
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.client import finding
from actors.client.finding import VIDEOS_MAX
from actors.client.listing import Listing
from actors.core import guids
from actors.core.client.audit import Audit
from actors.core.client.promises import Promises
from actors.core.client.videos import Video
from tests.support.patience import PATIENCE_S
from tests.support.served_client import Served

GUIDS = [guids.text(bytes([number >> 8, number & 255, *range(14)])) for number in range(1000)]
VIDEOS = {guid: Video(plays, plays * 1_000_000, 0, 0) for plays, guid in enumerate(GUIDS)}
LAST = GUIDS[-1]


def find(videos, start):
    async def found():
        return await finding.find(Listing(lambda: Audit(Promises(), videos=videos)), start)

    return asyncio.run(found())


@pytest.mark.parametrize(
    "written",
    [LAST, LAST.upper(), LAST.replace("-", ""), f"{{{LAST}}}", f"urn:uuid:{LAST}", f"  URN:UUID:{LAST} "],
)
def test_a_guid_is_found_in_every_form(written):
    assert find(VIDEOS, written) == (1, [(LAST, 999, 999)])


@given(st.sampled_from(GUIDS), st.integers(1, 36), st.booleans(), st.booleans())
def test_every_start_finds_what_begins_so(guid, length, upper, dashes):
    start = guid[:length] if dashes else guid.replace("-", "")[:length]
    found, videos = find(VIDEOS, start.upper() if upper else start)
    digits = start.replace("-", "")
    expected = [one for one in GUIDS if one.replace("-", "").startswith(digits)]
    assert found == len(expected)
    assert [one[0] for one in videos] == expected[::-1][:VIDEOS_MAX]


@pytest.mark.parametrize("start", ["x", "0000!", LAST + "0", "-" * 5 + "zz", "\0", "\u017f"])
def test_what_begins_no_guid_finds_nothing(start):
    assert find(VIDEOS, start) == (0, [])


def test_without_a_start_all_are_found_and_those_with_the_most_plays_given():
    found, videos = find(VIDEOS, "")
    assert (found, len(videos), videos[0]) == (1000, VIDEOS_MAX, (LAST, 999, 999))


def test_the_client_answers_what_it_finds(tmp_path):
    def ask(query):
        url = f"http://127.0.0.1:{client.port}/videos{query}"
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    with Served(tmp_path) as client:
        client.client.audit.videos.update(VIDEOS)
        expected = [list(one) for one in find(VIDEOS, "03")[1]]
        assert ask("?start=03") == {"found": 232, "videos": expected}
        assert ask(f"?start={urllib.parse.quote('{' + LAST.upper() + '}')}")["videos"] == [[LAST, 999, 999]]
        assert ask("")["found"] == ask("?start=")["found"] == 1000
