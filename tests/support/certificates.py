"""Certificates for 127.0.0.1: one that nobody trusts, and those of an authority of the tests."""

import shutil
import subprocess
from pathlib import Path

from tests.support.needed import lacking

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a new key and its certificate. Returns the paths of the two files."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    whose = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    _openssl("req", "-x509", *_NEW_KEY, "-days", "2", *whose, "-keyout", key, "-out", certificate)
    return key, certificate


class Authority:
    """An authority with a certificate of its own, `ca_file`."""

    def __init__(self, folder: Path, name: str = "authority"):
        self._folder = folder / name
        self._folder.mkdir()
        self._key, self.ca_file = self._folder / "ca-key.pem", self._folder / "ca.pem"
        is_authority = ["-addext", "keyUsage=critical,keyCertSign"]
        subject = ["-subj", f"/CN={name}"]
        made = ["-keyout", self._key, "-out", self.ca_file]
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", *subject, *is_authority, *made)

    def issue(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2) -> tuple[Path, Path]:
        """Issue a certificate. `days`: how long it is valid, -1 for one that has expired.

        Returns the paths of its key and of itself.
        """
        key, request, certificate = (self._folder / f"{name}{end}" for end in ("-key.pem", ".csr", ".pem"))
        extensions = self._folder / f"{name}.cnf"
        extensions.write_text(f"subjectAltName={names}\n")
        _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed = ["-CA", self.ca_file, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions]
        _openssl("x509", "-req", "-in", request, *signed, "-days", str(days), "-out", certificate)
        return key, certificate


def _openssl(*arguments: object) -> None:
    if not shutil.which("openssl"):
        lacking("no openssl on PATH: it makes the certificate")
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
