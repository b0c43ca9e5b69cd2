"""What is known of the nsqds to publish on, in virtual time: no nsqlookupd that hangs holds up anything."""

import asyncio

import pytest

from actors.sources import discovery
from actors.sources.discovery import FIRST_ANSWER_S, INTERVAL_S, Discovery, Publishable
from actors.sources.lookup import NSQDS_MAX, Found, Nodes
from tests.support.virtual_time import run_virtually


class Lookupds(Publishable):
    """nsqlookupds that say this: by address, what and after how many seconds. An `OSError` is raised."""

    def __init__(self, said, configured=()):
        super().__init__(list(configured), list(said), ["plays"])
        self.answers = said

    async def _ask(self, address):
        after_s, answer = self.answers[address]
        await asyncio.sleep(after_s)
        if isinstance(answer, OSError):
            raise answer
        return answer


def nodes(*usable, tombstoned=()):
    return Nodes(list(usable), list(tombstoned))


def known(said, configured=(), after_s=0.0):
    """What is known, and when; or why nothing is."""

    async def scene():
        lookupds = Lookupds(said, configured)
        asking = asyncio.ensure_future(lookupds.run())
        await asyncio.sleep(after_s)
        try:
            return await lookupds.known(), asyncio.get_running_loop().time()
        except OSError as error:
            return str(error), asyncio.get_running_loop().time()
        finally:
            asking.cancel()

    return run_virtually(scene)


def test_without_nsqlookupds_the_configured_ones_are_known_at_once():
    assert known({}, ["a:1", "b:1", "a:1"]) == (["a:1", "b:1"], 0)


def test_the_first_answer_that_names_an_nsqd_is_enough():
    said = {"hung": (1e9, None), "empty": (0.1, nodes()), "full": (0.2, nodes("a:1"))}
    assert known(said) == (["a:1"], pytest.approx(0.2))


def test_configured_and_discovered_ones_are_known_each_once_and_the_configured_ones_come_first():
    assert known({"one": (0.1, nodes("a:1", "b:1"))}, ["b:1"])[0] == ["b:1", "a:1"]


def test_of_thousands_that_are_discovered_the_same_few_are_used_beside_the_configured_ones():
    many = [f"n{number:05}:1" for number in range(5_000)]
    expected = ["b:1", *many[:NSQDS_MAX]]
    for order in (many, many[::-1]):
        assert known({"one": (0.1, nodes(*order))}, ["b:1"], after_s=1)[0] == expected


def test_where_an_nsqd_is_configured_a_hung_nsqlookupd_is_waited_for_only_a_moment():
    assert known({"hung": (1e9, None)}, ["b:1"]) == (["b:1"], pytest.approx(FIRST_ANSWER_S))


def test_if_all_fail_or_know_none_the_reasons_are_told():
    said = {"one": (0.1, OSError("refused")), "http://u:p@two/x?y": (0.3, nodes(tombstoned=["a:1"]))}
    text, at_s = known(said)
    assert text == "nsqlookupd one: refused; nsqlookupd http://…@two/x?…: knows no nsqd that may be used"
    assert at_s == pytest.approx(0.3)


def test_new_nsqds_are_known_after_the_next_answer_and_an_nsqlookupd_that_fails_has_said_what_it_said():
    said = {"one": (0.01, nodes("a:1"))}

    async def scene():
        lookupds = Lookupds(said)
        asking = asyncio.ensure_future(lookupds.run())
        found = [await lookupds.known()]
        for answer in (nodes("a:1", "b:1"), OSError("down"), nodes()):
            said["one"] = (0.01, answer)
            await asyncio.sleep(INTERVAL_S + 0.02)
            try:
                found.append(await lookupds.known())
            except OSError:
                found.append([])
        asking.cancel()
        return found

    assert run_virtually(scene) == [["a:1"], ["a:1", "b:1"], ["a:1", "b:1"], []]
    assert INTERVAL_S + discovery.TIMEOUT_S / 2 <= 2, "new nsqds are found within 2 s"


def test_a_tombstone_counts_unless_another_nsqlookupd_or_the_settings_name_the_nsqd():
    async def scene():
        told = nodes("a:1", tombstoned=["b:1", "c:1", "d:1"])
        lookupds = Lookupds({"one": (0, told), "two": (0, nodes("c:1"))}, ["d:1"])
        asking = asyncio.ensure_future(lookupds.run())
        await asyncio.sleep(0.1)
        asking.cancel()
        return await lookupds.known(), lookupds.tombstoned

    assert run_virtually(scene) == (["d:1", "a:1", "c:1"], {"b:1"})


# For a reader


def read_by(answers, known=(), until_s=0.5 * INTERVAL_S):
    """Which nsqds were found after each answer, and which nsqlookupds are unheard in the end."""
    found = []

    class Asked(Discovery):
        async def _ask(self, address):
            if isinstance(answers[address], OSError):
                raise answers[address]
            return answers[address]

    async def scene():
        discovery = Asked([*answers], "plays", found.append, known=known)
        asking = asyncio.ensure_future(discovery.run())
        await asyncio.sleep(until_s)
        asking.cancel()
        return discovery.unheard

    return run_virtually(scene), found


DOWN = OSError("down")
A, B = Found("a:4150"), Found("b:4150")


def test_while_no_nsqlookupd_has_answered_all_are_unheard_and_one_answer_is_enough():
    assert read_by({"one": DOWN, "two": DOWN})[0] == ["one", "two"]
    assert read_by({"one": DOWN, "two": [A]}) == ([], [[A]])
    assert read_by({"one": []})[0] == []


def test_what_an_earlier_source_knew_counts_for_each_nsqlookupd_until_it_answers():
    assert read_by({"one": DOWN}, [A]) == ([], [])
    assert read_by({"one": DOWN, "two": [B]}, [A]) == ([], [[A, B]])
    assert read_by({"one": [B], "two": [B]}, [A])[1][-1] == [B]
