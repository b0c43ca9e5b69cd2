"""The line that a service shows on a terminal."""

from actors.service.summary import Work, line, work_in


def test_the_line_has_what_was_done_how_fast_and_what_is_to_do():
    before, now = Work(10_000, 200, 0, 0), Work(12_345, 201, 1, 1234)
    assert line(before, now, 5.0) == (
        "12,345 plays counted (469 a second), 201 publishes (12 a minute), 1 video pending, "
        "1,234 messages behind"
    )


def test_behind_is_what_is_on_the_queue_and_what_is_not_counted_yet():
    shown = {
        "plays": {"counted": 5},
        "publishes": {"total": 2},
        "pending_videos": 3,
        "nsq": {"depth": 40},
        "in_flight_messages": 2,
    }
    assert work_in(shown) == Work(plays=5, publishes=2, pending=3, behind=42)
