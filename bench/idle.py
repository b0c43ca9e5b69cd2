"""What the service costs when nothing happens: CPU of the whole tree, as a share of one core.

python -m bench.idle [--seconds 20]
"""

import argparse
import tempfile
import time
from pathlib import Path

from actors.launch import Service
from bench.pipeline import cpu_s
from tests.support.services import ANY_PORTS

SETTLE_S = 3.0


def main() -> None:
    """Measure and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
        with Service(Path(folder) / "state", ANY_PORTS) as service:
            pids = {child["id"]: child["pid"] for child in service.status()["children"]}
            pids["supervisor"] = service.process.pid
            time.sleep(SETTLE_S)
            before_s = {name: cpu_s(pid) for name, pid in pids.items()}
            time.sleep(options.seconds)
            used = {name: (cpu_s(pid) - before_s[name]) / options.seconds for name, pid in pids.items()}
    shares = ", ".join(f"{name} {share:.2%}" for name, share in used.items())
    print(f"idle: {sum(used.values()):.2%} of one core ({shares})")


if __name__ == "__main__":
    main()
