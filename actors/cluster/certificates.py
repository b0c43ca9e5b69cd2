"""A certificate authority to throw away, and what it signs: one certificate for nsqds, one for clients.

Python has no way to make certificates, so openssl makes them. They are new at each start of a cluster.
"""

import os
import shutil
import subprocess
from pathlib import Path

from ..system.exits import Failure
from ..system.reasons import reason_of
from .plan import HOST, Certificates

DAYS = 30
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_TIMEOUT_S = 60


def make_certificates(folder: Path) -> Certificates:
    """Make all files in `folder`. Raises `Failure` without openssl, or if it fails."""
    if shutil.which("openssl") is None:
        raise Failure("no openssl on PATH, expected it: --tls makes its certificates with it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = ["-x509", "-days", str(DAYS), "-subj", "/CN=playtally cluster, to throw away"]
    _openssl(folder, "req", *authority, *_KEY, "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "nsqd.ext").write_text(f"subjectAltName=IP:{HOST},DNS:localhost\n")
    (folder / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for serial, name in enumerate(("nsqd", "client"), start=1):
        request = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
        _openssl(folder, "req", "-new", *_KEY, *request)
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", str(serial), "-days", str(DAYS)]
        files = ["-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.pem"]
        _openssl(folder, "x509", "-req", *signed, *files)
    names = ("ca.pem", "nsqd.pem", "nsqd.key", "client.pem", "client.key")
    return Certificates(*(os.path.join(folder, name) for name in names))


def _openssl(folder: Path, *words: str) -> None:
    try:
        ran = subprocess.run(
            ["openssl", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"openssl {words[0]} can't be run ({reason_of(error)}); --tls needs it") from error
    if ran.returncode:
        said = " ".join(ran.stderr.split())
        raise Failure(f"openssl {words[0]} ended with code {ran.returncode}: {said}; --tls needs it")
