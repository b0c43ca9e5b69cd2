"""The program in docs/supervision.md, word by word: supervision used alone."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_program_sees_its_killed_child_come_back(tmp_path):
    text = (ROOT / "docs" / "supervision.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "toy.py").write_text(program)
    command = "import sys; sys.path.insert(0, sys.argv[1]); import asyncio, toy; asyncio.run(toy.main())"
    ran = subprocess.run(
        [sys.executable, "-c", command, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ran.returncode == 0, ran.stderr
    # The first taker may have been killed before it got the number, or in the middle of its line.
    assert ran.stdout.endswith("taker#2 got 7\n")
