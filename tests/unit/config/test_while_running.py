"""Which settings can be changed while the service runs, and what is refused: what the config file refuses."""

import pytest

from actors import config
from actors.config import SETTABLE, ConfigError, DispatchSection, Settings, checked_value, with_values

GOOD = {
    "publish.rate_max_per_s": ("2.5", 2.5),
    "publish.in_flight_max": ("256", 256),
    "dispatch.realtime_linger_ms": ("60000", 60_000),
    "dispatch.overdue_linger_ms": ("0", 0),
}


@pytest.mark.parametrize("name", SETTABLE)
def test_a_value_is_the_one_that_set_would_give_and_nothing_else_changes(name):
    text, value = GOOD[name]
    assert checked_value(Settings(), name, text) == value
    assert with_values(config.load("/dev/null"), {name: value}) == config.load(
        "/dev/null", [f"{name}={text}"]
    )


@pytest.mark.parametrize("name", SETTABLE)
@pytest.mark.parametrize("text", ["", "-1", "1e9", "nan", "many", "[1]", "true", '"5"'])
def test_a_wrong_value_is_refused_in_the_words_of_the_config_file(name, text):
    with pytest.raises(ConfigError) as refused:
        checked_value(Settings(), name, text)
    with pytest.raises(ConfigError) as at_the_start:
        config.load("/dev/null", [f"{name}={text}"])
    assert [f"--set: {problem}" for problem in refused.value.problems] == at_the_start.value.problems


def test_a_contradiction_with_what_is_in_force_is_refused():
    settings = Settings(dispatch=DispatchSection(deadline_s=2))
    with pytest.raises(ConfigError, match=r"dispatch\.realtime_linger_ms = 3000, expected at most"):
        checked_value(settings, "dispatch.realtime_linger_ms", "3000")


@pytest.mark.parametrize("name", ["nsq.topic", "publish.url", "publish", "", "no.such", "publish.x.y", "ä.ö"])
def test_any_other_setting_is_refused_with_those_that_can_be_set(name):
    with pytest.raises(ConfigError) as refused:
        checked_value(Settings(), name, "1")
    (problem,) = refused.value.problems
    assert problem == f"{name} can't be set while the service runs, expected one of {', '.join(SETTABLE)}"
