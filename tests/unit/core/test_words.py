"""A count has the word that fits."""

import pytest

from actors.core.words import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ["message"], "0 messages"),
        (1, ["message"], "1 message"),
        (2, ["message"], "2 messages"),
        (12345, ["message"], "12,345 messages"),
        (1, ["message is not a play", "messages are not plays"], "1 message is not a play"),
        (3, ["message is not a play", "messages are not plays"], "3 messages are not plays"),
    ],
)
def test_a_count_has_the_word_that_fits(count, words, text):
    assert counted(count, *words) == text
