"""Where this code is, in a checkout or installed by pip, and which commands its user has.

Texts that tell people what to run take the command from here. Code that starts another Python takes the
environment from here, so that it finds this code and not a module of the same name in the working directory.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# pip writes this folder beside the modules that it copies; a checkout, installed with -e or not, has none.
INSTALLED = any(one.startswith("playtally-") and one.endswith(".dist-info") for one in os.listdir(ROOT))
_SCRIPTS = ("playtally", "playtally-producer")


def service_command() -> str:
    """The service's command line as its user has it, without arguments.

    Children are told how their supervisor was started: multiprocessing hands them its `sys.argv`.
    """
    return "playtally" if _by_script() else "python supervisor.py"


def producer_command() -> str:
    """The producer's command line, without arguments."""
    return "playtally-producer" if _by_script() else "python -m producer"


def environment() -> dict[str, str]:
    """The environment for another Python that has to run this code, whatever its working directory holds."""
    changed = {"PYTHONSAFEPATH": "1"}  # no modules from its working directory
    if not INSTALLED:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        changed["PYTHONPATH"] = os.pathsep.join(paths)
    return {**os.environ, **changed}


def _by_script() -> bool:
    return INSTALLED or Path(sys.argv[0]).name in _SCRIPTS
