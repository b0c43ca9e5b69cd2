"""A config file of any bytes, or with any value of any key, is usable or refused with a `ConfigError`."""

import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import config
from actors.config import ConfigError, Settings
from tests.support.fuzzing import spoilt, tries

KEYS = {one.key: one for one in config.explain(config.PROJECT_FILE)}
names = st.sampled_from(sorted(KEYS))
words = st.sampled_from(
    [
        "127.0.0.1:0",
        "[::1]:80",
        "a..b:80",
        ".:1",
        f"{'a' * 64}:80",
        "[:::1]:1",
        "http://[",
        "http://a:b",
        "x",
        "http://..:1/",
        "http://\u0130:80/",
        "\0",
        "a\0b",
        "NORMAL",
        "inherit",
        "../x",
        "http://a/?#",
        "ä:80",
    ]
)
scalars = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.text(max_size=80)
    | words
    | st.dates()
    | st.times()
    | st.datetimes()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


def toml(value: object) -> str:
    """The TOML text of a value."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            text = value.encode("utf-8", "replace").decode()
            return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
    return value.isoformat()


def load(path: Path, content: bytes, *overrides: str) -> Settings | None:
    """The settings; None if `config.load` refuses the file or the overrides with a message."""
    file = path / "config.toml"
    file.write_bytes(content)
    try:
        return config.load(file, overrides)
    except ConfigError as error:
        assert error.problems and all(error.problems)
        assert len(str(error)) < 20_000, "the message is too long to read"
        return None


def check_usable(settings: Settings) -> None:
    """Check that the settings hold no value that would break the service."""
    for section in msgspec.structs.astuple(settings):
        for value in msgspec.structs.astuple(section):
            if isinstance(value, float):
                assert math.isfinite(value)
            assert "\0" not in str(value)
    addresses = [
        settings.admin.address,
        settings.client.address,
        settings.embedded_nsqd.tcp_address,
        settings.embedded_nsqd.http_address,
        *settings.nsq.nsqd_tcp_addresses,
    ]
    for address in addresses:
        # A socket encodes its host in this way. A wrong host raises a UnicodeError, which is not an OSError.
        address.rpartition(":")[0].encode("idna")
    Path(settings.supervisor.state_dir).exists()


@tries(120)
@given(names, values)
def test_any_value_of_any_key_is_accepted_or_refused_by_name(tmp_path, name, value):
    section, _, key = name.partition(".")
    content = f"[{section}]\n{key} = {toml(value)}\n".encode()
    try:
        (tmp_path / "config.toml").write_bytes(content)
        settings = config.load(tmp_path / "config.toml")
    except ConfigError as error:
        assert any(name in problem and "expected" in problem for problem in error.problems), error
    else:
        check_usable(settings)


@tries(120)
@given(names, values.map(toml) | st.text(max_size=30))
def test_any_text_of_set_is_accepted_or_refused_by_name(name, text):
    try:
        settings = config.load(config.PROJECT_FILE, [f"{name}={text}"])
    except ConfigError as error:
        assert any(name in problem and "expected" in problem for problem in error.problems), error
    else:
        check_usable(settings)


@tries(80)
@given(spoilt(st.just(config.PROJECT_FILE.read_bytes())) | st.binary(max_size=200))
def test_a_file_of_any_bytes_is_read_or_refused(tmp_path, content):
    settings = load(tmp_path, content)
    if settings is not None:
        check_usable(settings)


@tries(80)
@given(st.text(max_size=40))
def test_a_set_of_any_text_is_refused(tmp_path, text):
    assert "=" in text or load(tmp_path, b"", text) is None


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 5000,
        b"[nsq]\ntopic = " + b"[" * 5000 + b"]" * 5000,
        b"[nsq]\ntopic = " + b"{a=" * 5000,
        b"a." * 5000 + b"a = 1",
        b"[nsq]\nmax_in_flight = " + b"9" * 5000,
        b"[nsq]\nmax_in_flight = 0x" + b"f" * 5000,
        b'[nsq]\ntopic = "' + b"x" * 1_000_000 + b'"',
        b"[nsq]\nmax_in_flight = 1e999",
        b'[supervisor]\nstate_dir = "a\\u0000b"',
        b"[nsq]\ntopic." + b"a." * 5000 + b"a = 1",
        b"nsq = [1]",
        b"[[nsq]]",
        b"",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_great_and_deep_values_are_refused_in_words(tmp_path, content):
    assert (load(tmp_path, content) is None) == bool(content)


@pytest.mark.parametrize("name", ["", "missing.toml", "x" * 5000, "loop"])
def test_a_file_that_cannot_be_read_is_refused_in_words(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="expected a config file"):
        config.load(tmp_path / name)
