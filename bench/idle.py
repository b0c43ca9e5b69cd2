"""What the service costs when nothing happens: CPU time of all its processes, as a share of one core.

python -m bench.idle [--seconds 20]
"""

import time

from actors.cli.launch import Service
from tests.support.services import ANY_PORTS

from .command import folder, parser
from .processes import CpuUse, pids_of

SETTLE_S = 3.0


def main() -> None:
    """Measure and print a line."""
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=20.0)
    options = arguments.parse_args()
    with folder() as path, Service(path / "state", ANY_PORTS) as service:
        pids = pids_of(service)
        time.sleep(SETTLE_S)
        cpu = CpuUse(pids)
        time.sleep(options.seconds)
        used = {name: used_s / options.seconds for name, used_s in cpu.used_s().items()}
    shares = ", ".join(f"{name} {share:.2%}" for name, share in used.items())
    print(f"idle: {sum(used.values()):.2%} of one core ({shares})")


if __name__ == "__main__":
    main()
