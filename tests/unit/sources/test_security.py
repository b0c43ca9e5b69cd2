"""What holds for connections to nsqds, as the settings say."""

import os

import pytest

from actors.config import NsqSection
from actors.sources.security import Security, security_problems
from actors.system.exits import Failure
from tests.support.certificates import make_certificate


def test_without_tls_there_is_no_context():
    security = Security(NsqSection())
    assert (security.tls, security.nsqd_tls(), security.lookupd_tls()) == (False, None, None)
    assert security.auth_secret() == b""


def test_a_name_is_expected_of_nsqds_and_not_of_nsqlookupds():
    security = Security(NsqSection(tls=True, tls_server_name="nsqd.example"))
    nsqd, lookupd = security.nsqd_tls(), security.lookupd_tls()
    assert (nsqd.expected_name, lookupd.expected_name) == ("nsqd.example", "")
    assert nsqd.check_hostname and lookupd.check_hostname


def test_https_alone_makes_contexts_and_no_tls_to_nsqds():
    security = Security(NsqSection(lookupd_http_addresses=["https://a:4161"]))
    assert not security.tls
    assert security.lookupd_tls() is not None


@pytest.mark.parametrize("key", ["tls_ca_file", "tls_cert_file", "auth_secret_file"])
def test_a_file_that_is_not_there_is_named(tmp_path, key):
    (problem,) = security_problems(NsqSection(tls=True, **{key: str(tmp_path / "none")}))
    assert problem.startswith(f"nsq.{key} = '{tmp_path / 'none'}'")
    assert "expected" in problem


def test_a_secret_that_is_not_set_is_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    (problem,) = security_problems(NsqSection(auth_secret_env="NO_SUCH_SECRET"))
    assert problem.startswith("nsq.auth_secret_env = 'NO_SUCH_SECRET', but that environment variable is not")


def test_files_are_read_again_and_what_can_not_be_used_changes_nothing(tmp_path):
    _, certificate = make_certificate(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(b"first\n")
    security = Security(NsqSection(tls=True, tls_ca_file=str(certificate), auth_secret_file=str(secret)))
    context = security.nsqd_tls()
    secret.write_bytes(b"second, and longer\n")
    certificate.write_bytes(b"nonsense")
    with pytest.raises(Failure, match="tls_ca_file"):
        security.reload()
    assert security.nsqd_tls() is context
    assert security.auth_secret() == b"second, and longer"


def test_a_path_may_have_a_comma(tmp_path):
    secret = tmp_path / "a,b"
    secret.write_bytes(os.urandom(8).hex().encode())
    assert Security(NsqSection(auth_secret_file=str(secret))).auth_secret() == secret.read_bytes()
