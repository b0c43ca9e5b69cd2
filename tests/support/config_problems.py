"""The problems that `load` finds in a configuration, and the values that it reads."""

import pytest

from actors.config import ConfigError, load


def problems(path, *overrides):
    """The problems of a config file with these overrides. There must be at least one."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def value_of(settings, key):
    """The value of "section.key"."""
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)
