"""The tokens that listeners ask for, and the token that goes to the service's own client."""

import pytest
from msgspec.structs import replace

from actors.config import ClientSection, Settings, credentials_of, load, token_of
from actors.config.sections import AdminSection, PublishSection
from actors.sinks.client_totals import own_client
from actors.system.exits import Failure
from actors.tree import children_of, root_spec, secret_variables
from tests.support.config_problems import problems

SECTIONS = {"admin": AdminSection, "client": ClientSection}
RIGHT = "sixteen-letters!"


def settings_with(name, **changes):
    return Settings(**{name: SECTIONS[name](**changes)})


@pytest.mark.parametrize("name", SECTIONS)
def test_a_token_is_read_from_the_environment_or_from_a_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", RIGHT)
    assert token_of(settings_with(name), name).value() == ""
    assert token_of(settings_with(name, token_env="TOKEN"), name).value() == RIGHT
    (tmp_path / "token").write_text(f"{RIGHT}\r\n")
    assert token_of(settings_with(name, token_file=str(tmp_path / "token")), name).value() == RIGHT


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("sixteen-letters", "too short"),
        ("x" * 4097, "too long"),
        ("sixteen letters, and more", "not one printable word"),
        ("sixteen\tletters!!", "not one printable word"),
        ("sixteen-letters-é", "not one printable word"),
        ("sixteen-letters\x7f!", "not one printable word"),
        ("sixteen-\n-letters", "not one printable word"),
    ],
)
def test_one_that_can_be_guessed_or_fits_into_no_header_is_refused(name, token, said, tmp_path):
    (tmp_path / "token").write_text(token)
    settings = settings_with(name, token_file=str(tmp_path / "token"))
    with pytest.raises(Failure, match=f"{name}.token_file is {said}; expected 16 to 4096 char") as caught:
        token_of(settings, name)
    assert token not in str(caught.value)


def test_a_new_token_is_read_when_its_file_changes_and_a_wrong_one_is_not_taken(tmp_path):
    file = tmp_path / "token"
    file.write_text(RIGHT)
    token = token_of(settings_with("admin", token_file=str(file)), "admin")
    file.write_text(RIGHT + "2")
    token.reload()
    assert token.value() == RIGHT + "2"
    file.write_text("short")
    with pytest.raises(Failure):
        token.reload()
    assert token.value() == RIGHT + "2"


@pytest.mark.parametrize("name", SECTIONS)
def test_variable_and_file_can_not_both_be_set(name, file):
    (problem,) = problems(file(), f"{name}.token_env=A", f"{name}.token_file=b")
    assert problem.startswith(f"{name}.token_env = 'A' and {name}.token_file = 'b', expected one of them")


def test_actions_need_a_token(file):
    (problem,) = problems(file(), "admin.actions=true")
    assert problem.startswith("admin.actions = true without a token, expected admin.token_env or")
    assert load(file(), ["admin.actions=true", "admin.token_env=A"]).admin.actions


def test_a_relative_path_starts_from_the_config_file(file, tmp_path):
    settings = load(file("[admin]\ntoken_file = 'a'\n[client]\ntoken_file = 'b'\n"))
    assert settings.admin.token_file.endswith("/a") and settings.client.token_file.endswith("/b")


OWN = ClientSection(token_env="OWN")


@pytest.mark.parametrize(
    ("publish", "own", "sent"),
    [
        (PublishSection(), OWN, "the-clients-own"),
        (PublishSection(token_env="OTHER"), OWN, "of-publish"),
        (PublishSection(), None, ""),
        (PublishSection(token_env="OTHER"), None, "of-publish"),
        (PublishSection(), ClientSection(), ""),
    ],
)
def test_publishes_to_the_own_client_have_its_token_unless_another_is_set(publish, own, sent, monkeypatch):
    monkeypatch.setenv("OWN", "the-clients-own")
    monkeypatch.setenv("OTHER", "of-publish")
    assert credentials_of(publish, own).value().token == sent


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://127.0.0.1:8080/plays", True),
        ("http://localhost:8080/plays", True),
        ("http://127.0.0.1:8082/plays", False),
        ("http://client.example.org:8080/plays", False),
        ("http://[::1/", False),
        ("", False),
    ],
)
def test_no_other_client_gets_the_own_ones_token(url, is_own):
    settings = Settings(publish=PublishSection(url=url), client=OWN)
    assert own_client(settings) == (OWN if is_own else None)
    assert own_client(replace(settings, client=replace(OWN, enabled=False))) is None


@pytest.mark.parametrize(
    ("url", "with_it"),
    [("http://127.0.0.1:8080/plays", {"client", "dispatcher"}), ("http://a.example/", {"client"})],
)
def test_a_token_is_in_the_environment_of_those_alone_who_need_it(url, with_it):
    settings = Settings(publish=PublishSection(url=url), client=OWN, admin=AdminSection(token_env="ADMIN"))
    assert secret_variables(settings) >= {"OWN", "ADMIN"}
    root = root_spec(settings)
    assert root.supervisor is not None
    specs = {one.id: one for one in root.supervisor.children}
    assert {name for name, one in specs.items() if "OWN" in one.environment} == with_it
    assert {name for name, one in specs.items() if "ADMIN" in one.environment} == set()
    assert len(children_of(root)) >= 5
