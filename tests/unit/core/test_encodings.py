"""What travels as bytes between processes that do not know its kind comes out as it went in."""

import msgspec
import pytest

from actors.core import calls, stats
from actors.core.calls import Answer, Orders, RepublishCall
from actors.core.histogram import HistogramStats
from actors.core.stats import CounterStats


def test_the_stats_of_an_actor_come_out_as_they_went_in():
    counts = [name for name in CounterStats.__struct_fields__ if name != "commit_duration_s"]
    numbers = {name: number for number, name in enumerate(counts, 1)}
    one = CounterStats(**numbers, commit_duration_s=HistogramStats([1, 0, 2], 0.5))
    assert stats.decode(stats.encode(one)) == one


def test_a_request_and_its_answer_come_out_as_they_went_in():
    call, answer = RepublishCall(b"v" * 32), Answer("2 videos", refused=True)
    assert calls.decode_call(calls.encode(call)) == call
    orders = Orders(paused=True, values={"publish.in_flight_max": 4, "publish.rate_max_per_s": 2.5})
    for decode in (calls.decode_call, calls.decode_orders):
        assert decode(calls.encode(orders)) == orders
    assert type(calls.decode_orders(calls.encode(orders)).values["publish.in_flight_max"]) is int
    assert calls.decode_orders(b"") == Orders()
    assert calls.decode_answer(calls.encode(answer)) == answer


@pytest.mark.parametrize("decode", [stats.decode, calls.decode_call, calls.decode_answer])
def test_other_bytes_are_refused(decode):
    with pytest.raises(msgspec.DecodeError):
        decode(msgspec.msgpack.encode({"another": "message"}))
