"""What playtally needs of the Python that runs it, and what to do if something is missing.

`supervisor.py` and `producer/__main__.py` call `require` before they import anything else. Any Python since
2.7 can read these files, so a start with the wrong Python ends with one line and no traceback.
"""

import os
import sys

PYTHON_MIN = (3, 11)
# What setup.cfg asks for, and the module that shows whether it is there.
LIBRARIES = {
    "argcomplete": "argcomplete",
    "cramjam": "cramjam",
    "httptools": "httptools",
    "msgpack": "msgpack",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "prometheus-client": "prometheus_client",
    "psutil": "psutil",
    "pynsq": "nsq",
    "pyroaring": "pyroaring",
    "rich": "rich",
    "setproctitle": "setproctitle",
    "tornado": "tornado",
}
EXIT_USAGE = 2
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def require():
    # type: () -> None
    """End this process with one line and code 2 unless its Python has all that playtally needs."""
    problem = _problem()
    if problem:
        sys.stderr.write("playtally needs " + problem + "\n")
        sys.exit(EXIT_USAGE)


def _problem():
    # type: () -> str
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        found = ".".join(map(str, sys.version_info[:3]))
        return "Python " + wanted + " or newer, and " + sys.executable + " is " + found + ": " + _remedy([])
    from importlib.util import find_spec

    missing = [name for name, module in sorted(LIBRARIES.items()) if find_spec(module) is None]
    if not missing:
        return ""
    return ", ".join(missing) + ", which " + sys.executable + " does not have: " + _remedy(missing)


def _remedy(missing):
    # type: (list[str]) -> str
    """What to do. A checkout has its Makefile, which makes .venv."""
    if not os.path.exists(os.path.join(_ROOT, "Makefile")):
        return "run `" + " ".join([sys.executable, "-m pip install"] + missing) + "`"
    try:
        here = os.path.realpath(os.getcwd()) == os.path.realpath(_ROOT)
    except OSError:  # this directory was removed
        here = False
    make = "make" if here else "make -C " + _quoted(_ROOT)
    venv = ".venv" if here else os.path.join(_ROOT, ".venv")
    python = os.path.join(venv, "bin", "python")
    if os.path.exists(python) and os.path.realpath(sys.prefix) != os.path.realpath(venv):
        return "run it with " + _quoted(python)
    return "run `" + make + " run`, which makes .venv and starts the service, then use " + _quoted(python)


def _quoted(path):
    # type: (str) -> str
    """As a shell takes it: Python 2.7 has no shlex.quote."""
    return "'" + path + "'" if " " in path else path
