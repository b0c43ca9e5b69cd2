"""What a reload says of files and settings."""

import pytest
from msgspec.structs import replace

from actors.config import ConfigError, DispatchSection, NsqSection, PublishSection, Settings
from actors.service.reloading import Reloaded, Reloading
from tests.support.certificates import make_certificate


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("first")
    return path


def settings_of(secret, **more):
    nsqd = ["a:4150"]
    return Settings(nsq=NsqSection(nsqd_tcp_addresses=nsqd, auth_secret_file=str(secret), **more))


def test_what_has_not_changed_is_not_told(secret):
    reloading = Reloading(settings_of(secret), lambda: settings_of(secret))
    assert reloading.named() == ["nsq.auth_secret_file"]
    assert reloading.look() == Reloaded()


def test_a_change_is_told_once(secret):
    reloading = Reloading(settings_of(secret), lambda: settings_of(secret))
    secret.write_text("second")
    assert reloading.look().in_force == [f"nsq.auth_secret_file: {secret} changed and was read again"]
    assert reloading.look() == Reloaded()


def test_what_can_not_be_used_is_told_until_it_can_and_holds_up_no_other_file(tmp_path, secret):
    key, certificate = make_certificate(tmp_path)
    settings = settings_of(secret, tls=True, tls_cert_file=str(certificate), tls_key_file=str(key))
    reloading = Reloading(settings)
    secret.unlink()
    certificate.write_text(certificate.read_text() + "\n")
    found = reloading.look()
    assert found.in_force == [f"nsq.tls_cert_file: {certificate} changed and was read again"]
    (problem,) = found.refused
    assert problem.startswith(f"nsq.auth_secret_file = '{secret}'")
    assert problem.endswith("; what was read before stays in force")
    assert reloading.look().refused == [problem]
    secret.write_text("second")
    assert reloading.look().in_force == [f"nsq.auth_secret_file: {secret} changed and was read again"]


def test_a_changed_setting_needs_a_restart_and_shows_no_password(secret):
    first = settings_of(secret, lookupd_http_addresses=["http://a:secret-3@lookupd:4161/?token=secret-4"])
    before = replace(first, publish=PublishSection(url="http://a:secret-1@client/"))
    after = replace(
        before,
        nsq=settings_of(secret, lookupd_http_addresses=["http://a:secret-5@lookupd:4161/"]).nsq,
        dispatch=DispatchSection(deadline_s=30),
        publish=PublishSection(url="http://a:secret-2@client/"),
    )
    told = Reloading(before, lambda: after).look().need_restart
    assert "dispatch.deadline_s = 30 needs a restart; 60.0 is in force" in told
    assert len(told) == 3
    assert "secret-" not in " ".join(told)


def test_a_config_file_with_mistakes_changes_nothing(secret):
    def reread():
        raise ConfigError(["config.toml: x = 1, expected y"])

    found = Reloading(settings_of(secret), reread).look()
    assert found.refused == ["config.toml: x = 1, expected y; the settings of the start stay in force"]
