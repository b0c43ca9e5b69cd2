"""Certificates for 127.0.0.1 that nobody trusts."""

import shutil
import subprocess
from pathlib import Path

from tests.support.needed import lacking


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a new key and its certificate. Returns the paths of the two files."""
    if not shutil.which("openssl"):
        lacking("no openssl on PATH: it makes the certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    whose = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", *kind.split(), *whose, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate
