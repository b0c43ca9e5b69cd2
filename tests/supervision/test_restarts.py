"""What follows from an exit, tested clause by clause of the documentation of OTP's `supervisor`.

The children in the order of their start: permanent ones, and between them one permanent, one transient and
one temporary child.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.supervision.restarts import (
    AutoShutdown,
    ChildSpec,
    End,
    Exit,
    Plan,
    Restart,
    Restarts,
    SpecError,
    Strategy,
    SupervisorSpec,
)

NORMAL = Exit(code=0)
ABNORMAL = [Exit(code=1), Exit(signal="SIGKILL"), Exit(code=0, hung="no answer"), Exit()]
MAX_MS = 10_000
SPECS = (
    ChildSpec("first", "m:C"),
    ChildSpec("permanent", "m:C", Restart.PERMANENT),
    ChildSpec("transient", "m:C", Restart.TRANSIENT),
    ChildSpec("temporary", "m:C", Restart.TEMPORARY),
    ChildSpec("last", "m:C"),
)
GONE = ("temporary",)

PLANS = {
    (Strategy.ONE_FOR_ONE, "permanent"): Plan((), ("permanent",)),
    (Strategy.ONE_FOR_ONE, "transient"): Plan((), ("transient",)),
    # OTP: "the rest of the child processes (that is, the child processes after the terminated
    # process in start order) are terminated. Then the terminated child process and all child
    # processes after it are restarted"; a temporary one never, "even when ... a sibling's death
    # causes [it] to be terminated". They are stopped in reverse order of start.
    (Strategy.REST_FOR_ONE, "permanent"): Plan(
        ("last", "temporary", "transient"), ("permanent", "transient", "last"), GONE
    ),
    (Strategy.REST_FOR_ONE, "transient"): Plan(("last", "temporary"), ("transient", "last"), GONE),
    (Strategy.ONE_FOR_ALL, "permanent"): Plan(
        ("last", "temporary", "transient", "first"),
        ("first", "permanent", "transient", "last"),
        GONE,
    ),
    (Strategy.ONE_FOR_ALL, "transient"): Plan(
        ("last", "temporary", "permanent", "first"),
        ("first", "permanent", "transient", "last"),
        GONE,
    ),
}


def restarts(strategy=Strategy.ONE_FOR_ONE, max_restarts=100, back_off_ms=0):
    return Restarts(SupervisorSpec(SPECS, strategy, max_restarts, MAX_MS, back_off_ms))


def gives_up(decision):
    return isinstance(decision, End) and decision.gave_up


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("exit", [NORMAL, *ABNORMAL], ids=str)
def test_a_permanent_child_is_always_restarted(strategy, exit):
    plan = restarts(strategy).exited("permanent", exit, 0)
    assert plan == PLANS[strategy, "permanent"]


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("exit", ABNORMAL, ids=str)
def test_a_transient_child_is_restarted_after_an_abnormal_exit(strategy, exit):
    plan = restarts(strategy).exited("transient", exit, 0)
    assert plan == PLANS[strategy, "transient"]


@pytest.mark.parametrize("strategy", Strategy)
def test_a_transient_child_is_not_restarted_after_a_normal_exit(strategy):
    assert restarts(strategy).exited("transient", NORMAL, 0) == Plan()


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("exit", [NORMAL, *ABNORMAL], ids=str)
def test_a_temporary_child_is_never_restarted_and_nobody_is_stopped_for_it(strategy, exit):
    assert restarts(strategy).exited("temporary", exit, 0) == Plan(forget=GONE)


@pytest.mark.parametrize("strategy", Strategy)
def test_a_plan_stops_in_reverse_order_of_start_and_starts_in_order(strategy):
    order = [spec.id for spec in SPECS]
    for child_id in order:
        plan = restarts(strategy).exited(child_id, Exit(code=1), 0)
        assert list(plan.stop) == sorted(plan.stop, key=order.index, reverse=True)
        assert list(plan.start) == sorted(plan.start, key=order.index)
        assert child_id not in plan.stop, "it is down already"


def test_the_first_and_the_last_child_under_rest_for_one():
    assert restarts(Strategy.REST_FOR_ONE).exited("last", NORMAL, 0) == Plan((), ("last",))
    plan = restarts(Strategy.REST_FOR_ONE).exited("first", NORMAL, 0)
    assert plan.stop == ("last", "temporary", "transient", "permanent")


# Restart intensity: at most max_restarts within max_seconds


def test_as_many_restarts_as_are_allowed_are_made_and_one_more_gives_up():
    rules = restarts(max_restarts=5)
    for number in range(5):
        assert rules.exited("first", Exit(code=1), number) == Plan((), ("first",))
    decision = rules.exited("last", Exit(signal="SIGKILL"), 5)
    assert gives_up(decision)
    for fact in ("last", "SIGKILL", "5 restarts in 10 s"):
        assert fact in decision.reason


def test_a_restart_as_old_as_the_window_still_counts():
    rules = restarts(max_restarts=1)
    assert isinstance(rules.exited("first", NORMAL, 0), Plan)
    assert gives_up(rules.exited("first", NORMAL, MAX_MS))


def test_a_restart_older_than_the_window_counts_no_more():
    rules = restarts(max_restarts=1)
    assert isinstance(rules.exited("first", NORMAL, 0), Plan)
    assert isinstance(rules.exited("first", NORMAL, MAX_MS + 1), Plan)


def test_with_no_restart_allowed_the_first_exit_gives_up():
    assert gives_up(restarts(max_restarts=0).exited("first", NORMAL, 0))


def test_exits_without_a_restart_do_not_count():
    rules = restarts(max_restarts=1)
    for now_ms in range(5):
        assert rules.exited("temporary", Exit(code=1), now_ms) == Plan(forget=GONE)
        assert rules.exited("transient", NORMAL, now_ms) == Plan()
    assert isinstance(rules.exited("first", NORMAL, 9), Plan)


def test_the_restarts_of_all_children_count_together():
    rules = restarts(max_restarts=2)
    assert isinstance(rules.exited("first", NORMAL, 0), Plan)
    assert isinstance(rules.exited("permanent", NORMAL, 1), Plan)
    assert gives_up(rules.exited("last", NORMAL, 2))


def test_one_exit_counts_once_however_many_children_it_restarts():
    rules = restarts(Strategy.ONE_FOR_ALL, max_restarts=2)
    assert isinstance(rules.exited("first", NORMAL, 0), Plan)
    assert isinstance(rules.exited("first", NORMAL, 1), Plan)
    assert gives_up(rules.exited("first", NORMAL, 2))


def test_the_restarts_that_are_remembered_are_those_in_the_window():
    rules = restarts(max_restarts=5)
    for number in range(1000):
        assert isinstance(rules.exited("first", NORMAL, number * 3000), Plan)
    assert len(rules._events) <= 5


def test_the_intensity_that_nobody_names_is_otps_one_restart_in_five_seconds():
    spec = SupervisorSpec(SPECS)
    assert (spec.strategy, spec.max_restarts, spec.max_ms) == (Strategy.ONE_FOR_ONE, 1, 5000)


# What OTP does not have: one event, tries in a row, back-off


def together(max_restarts):
    return Restarts(SupervisorSpec(SPECS, max_restarts=max_restarts, max_ms=MAX_MS, same_event_ms=2000))


def test_different_children_that_exit_within_the_time_of_one_event_count_once():
    rules = together(max_restarts=1)
    for now_ms, child_id in ((0, "first"), (1000, "permanent"), (2000, "last")):
        assert rules.exited(child_id, Exit(code=1), now_ms) == Plan((), (child_id,))
    assert gives_up(rules.exited("transient", Exit(code=1), 2001))


def test_the_same_child_twice_is_two_events_whoever_exits_in_between():
    rules = together(max_restarts=2)
    for child_id in ("first", "first", "last", "last"):
        assert isinstance(rules.exited(child_id, Exit(code=1), 0), Plan)
    assert gives_up(rules.exited("last", Exit(code=1), 1))


def test_without_a_time_for_one_event_two_children_at_one_moment_are_two():
    rules = restarts(max_restarts=1)
    assert isinstance(rules.exited("first", NORMAL, 0), Plan)
    assert gives_up(rules.exited("last", NORMAL, 0))


@pytest.mark.parametrize("child_id", ["first", "transient"])
def test_tries_in_a_row_that_are_never_ready_all_count_however_long_each_takes(child_id):
    rules = restarts(max_restarts=3)
    assert isinstance(rules.exited(child_id, Exit(code=1), 0), Plan)
    for number in (1, 2):
        assert isinstance(rules.start_failed(child_id, "not ready", number * 10 * MAX_MS), Plan)
    decision = rules.start_failed(child_id, "not ready after 60 s", 30 * MAX_MS)
    assert gives_up(decision)
    assert decision.reason == "not ready after 60 s, and 3 restarts in 10 s are allowed"


def test_tries_in_a_row_begin_anew_when_the_child_was_ready_or_was_terminated():
    for note in (Restarts.started, Restarts.terminated):
        rules = restarts(max_restarts=2)
        for number in range(0, 30, 3):
            assert isinstance(rules.exited("first", Exit(code=1), number * MAX_MS), Plan)
            assert isinstance(rules.start_failed("first", "not ready", (number + 1) * MAX_MS + 1), Plan)
            note(rules, "first")
            assert isinstance(rules.exited("last", Exit(code=1), (number + 2) * MAX_MS + 2), Plan)
            note(rules, "last")


def test_what_happened_before_the_tries_in_a_row_is_forgotten_after_its_time():
    rules = restarts(max_restarts=2)
    assert isinstance(rules.exited("first", Exit(code=1), 0), Plan)
    rules.started("first")
    assert isinstance(rules.exited("first", Exit(code=1), MAX_MS), Plan)
    assert isinstance(rules.start_failed("first", "not ready", 2 * MAX_MS), Plan)
    assert gives_up(rules.start_failed("first", "not ready", 20 * MAX_MS))


def test_a_child_whose_first_exit_was_part_of_an_event_has_its_tries_counted_too():
    rules = together(max_restarts=2)
    assert isinstance(rules.exited("first", Exit(code=1), 0), Plan)
    assert isinstance(rules.exited("last", Exit(code=1), 1), Plan)
    rules.started("first")
    assert isinstance(rules.start_failed("last", "not ready", 10 * MAX_MS), Plan)
    assert gives_up(rules.start_failed("last", "not ready", 20 * MAX_MS))


def test_a_start_that_failed_is_tried_again_whatever_the_restart_type():
    rules = restarts(Strategy.REST_FOR_ONE)
    assert rules.start_failed("transient", "shutdown", 0) == PLANS[Strategy.REST_FOR_ONE, "transient"]


def test_without_back_off_a_restart_waits_for_nothing():
    assert restarts().exited("first", NORMAL, 0).delay_ms == 0


def test_the_pause_doubles_with_each_restart_in_the_window_up_to_the_window():
    rules = restarts(back_off_ms=100)
    delays = [rules.exited("first", NORMAL, now_ms).delay_ms for now_ms in range(30)]
    assert delays[:5] == [100, 200, 400, 800, 1600]
    assert delays[-1] == MAX_MS
    assert rules.exited("first", NORMAL, 30 + MAX_MS).delay_ms == 100


# Significant children and automatic shutdown


def significant(auto_shutdown):
    children = (
        ChildSpec("one", "m:C", Restart.TRANSIENT, significant=True),
        ChildSpec("two", "m:C", Restart.TEMPORARY, significant=True),
        ChildSpec("other", "m:C", Restart.TRANSIENT),
    )
    return Restarts(SupervisorSpec(children, max_restarts=9, auto_shutdown=auto_shutdown))


def test_with_any_significant_the_first_of_them_that_ends_by_itself_ends_the_supervisor():
    rules = significant(AutoShutdown.ANY_SIGNIFICANT)
    assert rules.exited("other", NORMAL, 0) == Plan()
    assert rules.exited("one", Exit(code=1), 0) == Plan((), ("one",))
    decision = rules.exited("one", NORMAL, 1)
    assert isinstance(decision, End)
    assert not decision.gave_up
    assert isinstance(significant(AutoShutdown.ANY_SIGNIFICANT).exited("two", Exit(code=1), 0), End)


def test_with_all_significant_the_last_of_them_ends_the_supervisor():
    rules = significant(AutoShutdown.ALL_SIGNIFICANT)
    assert rules.exited("two", Exit(signal="SIGKILL"), 0) == Plan(forget=("two",))
    rules.delete("two")
    assert isinstance(rules.exited("one", NORMAL, 1), End)


def test_with_all_significant_one_that_runs_again_has_not_ended():
    rules = significant(AutoShutdown.ALL_SIGNIFICANT)
    assert rules.exited("one", NORMAL, 0) == Plan()
    rules.started("one")
    assert rules.exited("two", NORMAL, 1) == Plan(forget=("two",))


def test_a_nested_supervisor_that_shut_down_ended_normally():
    assert restarts().exited("transient", Exit(shutdown="two ended"), 0) == Plan()


@pytest.mark.parametrize(
    ("children", "auto_shutdown", "text"),
    [
        ((ChildSpec("a"), ChildSpec("a")), AutoShutdown.NEVER, "there already"),
        (
            (ChildSpec("a", restart=Restart.TRANSIENT, significant=True),),
            AutoShutdown.NEVER,
            "auto_shutdown other than never",
        ),
        (
            (ChildSpec("a", significant=True),),
            AutoShutdown.ANY_SIGNIFICANT,
            "transient or temporary",
        ),
    ],
)
def test_a_spec_that_can_not_be_is_refused_by_name(children, auto_shutdown, text):
    with pytest.raises(SpecError, match=text) as caught:
        Restarts(SupervisorSpec(children, auto_shutdown=auto_shutdown))
    assert "'a'" in str(caught.value)


# Children that come and go


def test_a_child_that_is_added_starts_last_and_one_that_is_deleted_is_not_started():
    rules = restarts(Strategy.REST_FOR_ONE)
    rules.add(ChildSpec("added", "m:C"))
    rules.delete("transient")
    assert list(rules._children) == [
        "first",
        "permanent",
        "temporary",
        "last",
        "added",
    ]
    assert rules.exited("permanent", NORMAL, 0) == Plan(
        ("added", "last", "temporary"), ("permanent", "last", "added"), GONE
    )


# Exits


@pytest.mark.parametrize(
    ("exit", "normal", "text"),
    [
        (Exit(code=0), True, "exited(0)"),
        (Exit(code=3), False, "exited(3)"),
        (Exit(signal="SIGKILL"), False, "killed(SIGKILL)"),
        (Exit(signal="SIGKILL", hung="no answer for 10 s"), False, "hung (no answer for 10 s)"),
        (Exit(code=0, hung="did not end"), False, "hung (did not end)"),
    ],
)
def test_an_exit_is_normal_only_when_the_child_ended_by_itself_and_well(exit, normal, text):
    assert (exit.normal, str(exit)) == (normal, text)


# Against a small model

EXITS = [NORMAL, Exit(code=1), Exit(signal="SIGKILL"), Exit(code=0, hung="no answer"), Exit(shutdown="x")]


@given(
    kinds=st.lists(st.sampled_from(list(Restart)), min_size=1, max_size=5),
    strategy=st.sampled_from(list(Strategy)),
    max_restarts=st.integers(0, 3),
    events=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(EXITS), st.integers(0, 400)), max_size=20),
)
def test_any_row_of_exits_is_decided_as_a_model_decides_it(kinds, strategy, max_restarts, events):
    """The model keeps every restart ever made, and the children as a plain list of names and kinds."""
    names = [f"child-{number}" for number in range(len(kinds))]
    alive = dict(zip(names, kinds, strict=True))
    specs = tuple(ChildSpec(name, restart=kind) for name, kind in alive.items())
    rules = Restarts(SupervisorSpec(specs, strategy, max_restarts, max_ms=1000))
    made_ms, now_ms = [], 0
    for number, exit, pause_ms in events:
        now_ms += pause_ms
        name = names[number % len(names)]
        if name not in alive:
            continue
        decision = rules.exited(name, exit, now_ms)
        ended_well = exit.shutdown or (exit.code == 0 and not exit.hung)
        if alive[name] == "temporary" or (alive[name] == "transient" and ended_well):
            assert decision == Plan(forget=(name,) if alive[name] == "temporary" else ())
        else:
            made_ms.append(now_ms)
            if sum(now_ms - at <= 1000 for at in made_ms) > max_restarts:
                assert isinstance(decision, End) and decision.gave_up
                return
            order = list(alive)
            at = order.index(name)
            whom = {"one_for_one": [name], "rest_for_one": order[at:], "one_for_all": order}[strategy]
            others = [one for one in whom if one != name]
            assert list(decision.stop) == others[::-1]
            assert list(decision.forget) == [one for one in others if alive[one] == "temporary"]
            assert list(decision.start) == [one for one in whom if one not in decision.forget]
        for one in decision.forget:
            rules.delete(one)
            del alive[one]
        for one in decision.start:
            rules.started(one)
