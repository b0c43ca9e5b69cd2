"""The keys of refused content: five 5xx in a row end a key, and what is not needed any more is dropped."""

import msgspec

from actors.core.dispatcher.numbered_keys import KEPT_MAX, SERVER_ERRORS_MAX, NumberedKeys, answered
from actors.core.dispatcher.outbox import Batch, Entry, Stage, make_batch
from actors.core.triggers import Trigger

V, W = bytes(range(16)), b"w" * 16
CONTENT = Trigger.REALTIME, [Entry(V, 3, 17)]


def failed(batch, *server_errors):
    for server_error in server_errors:
        batch = answered("s", batch, server_error)
    return batch


def test_five_5xx_in_a_row_end_a_key_and_four_do_not():
    batch = make_batch("s", *CONTENT)
    assert SERVER_ERRORS_MAX == 5
    assert failed(batch, *[True] * 4).key == batch.key
    again = failed(batch, *[True] * 5)
    assert again.key != batch.key
    assert (again.entries, again.trigger) == (batch.entries, batch.trigger)
    assert again == make_batch("s", *CONTENT, key_number=1)
    assert failed(again, *[True] * 5) == make_batch("s", *CONTENT, key_number=2)


def test_any_other_failure_ends_the_row():
    batch = make_batch("s", *CONTENT)
    assert failed(batch, *[True] * 4, False, *[True] * 4).key == batch.key
    assert failed(batch, *[True] * 4, False, *[True] * 5).key_number == 1


def test_the_same_content_goes_on_under_the_key_where_it_stood_also_after_a_restart():
    refused = NumberedKeys("s")
    batch = failed(make_batch("s", *CONTENT), *[True] * 7)
    kept, gone = refused.keep(batch)
    assert (kept.stage, gone) == (Stage.REFUSED, [])
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Batch)
    for one in (refused, NumberedKeys("s", [stored])):
        assert one.make(*CONTENT) == (batch, [])
        assert one.make(*CONTENT) == (make_batch("s", *CONTENT), [])  # it left, and is not kept any more


def test_other_content_of_a_video_ends_what_is_known_of_it_and_of_others_it_does_not():
    refused = NumberedKeys("s")
    kept, _ = refused.keep(failed(make_batch("s", *CONTENT), True))
    assert refused.make(Trigger.REALTIME, [Entry(W, 1, 1)]) == (
        make_batch("s", Trigger.REALTIME, [Entry(W, 1, 1)]),
        [],
    )
    newer = [Entry(W, 1, 1), Entry(V, 4, 17)]
    assert refused.make(Trigger.REALTIME, newer) == (make_batch("s", Trigger.REALTIME, newer), [kept.key])


def test_a_refusal_that_no_client_remembers_is_not_kept():
    batch = make_batch("s", *CONTENT)
    assert NumberedKeys("s").keep(failed(batch, False)) == (None, [batch.key])


def test_a_number_is_kept_whatever_the_refusal():
    batch = failed(make_batch("s", *CONTENT), *[True] * 5, False)
    refused = NumberedKeys("s")
    assert refused.keep(batch)[0].key_number == 1
    assert refused.make(*CONTENT)[0].key_number == 1


def test_the_number_of_refused_batches_has_a_limit():
    refused, first = NumberedKeys("s"), None
    for number in range(KEPT_MAX + 1):
        content = Trigger.REALTIME, [Entry(number.to_bytes(16, "big"), 1, 1)]
        kept, gone = refused.keep(failed(make_batch("s", *content), True))
        first = first or kept.key
    assert gone == [first]
