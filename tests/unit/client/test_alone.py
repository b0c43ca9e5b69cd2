"""`python -m actors.client`: it asks for its token, and does not start where anyone could publish."""

import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.support.patience import PATIENCE_S

TOKEN = "a-token-of-the-test"
COMMAND = [sys.executable, "-m", "actors.client"]


@pytest.mark.parametrize(
    ("words", "token", "said"),
    [
        (["--address", "0.0.0.0:0"], "", "--address 0.0.0.0:0 is reached from other machines"),
        (["--address", "127.0.0.1:0", "--token-env", "TOKEN"], "", "the token of --token-env is too short"),
        (["--address", "0.0.0.0:0", "--token-env", "TOKEN"], "two words, or more", "not one printable word"),
    ],
)
def test_it_does_not_start_where_anyone_could_publish(tmp_path, words, token, said):
    ran = subprocess.run(
        [*COMMAND, "--data-path", str(tmp_path), *words],
        env=os.environ | {"TOKEN": token},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr and (not token or token not in ran.stderr)


@pytest.mark.parametrize("words", [["--token-env", "TOKEN"], ["--insecure"]])
def test_on_all_addresses_it_asks_for_its_token_or_is_insecure(tmp_path, words):
    command = [*COMMAND, "--data-path", str(tmp_path), "--address", "0.0.0.0:0", *words]
    with subprocess.Popen(
        command, env=os.environ | {"TOKEN": TOKEN}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            port = process.stderr.readline().rstrip("/\n").rpartition(":")[2]
            url = f"http://127.0.0.1:{port}/totals"
            if "--insecure" not in words:
                with pytest.raises(urllib.error.HTTPError, match="401") as caught:
                    urllib.request.urlopen(url, timeout=PATIENCE_S)
                caught.value.close()
            asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
            with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
                assert answer.read() == b"{}\n"
        finally:
            process.kill()
