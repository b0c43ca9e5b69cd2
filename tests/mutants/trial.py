"""What happens in a fork of a worker: the mutation is put into the modules that are loaded, and tests run."""

import gc
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import CodeType, FunctionType

import psutil
import pytest

from .population import code_of, module_of, mutated
from .probe import HITS, take
from .protocol import Begun, Request, Result, Test

SEED = "seed "
# How much CPU time a test may take, as a multiple of what it took without a mutation, and some seconds more.
# It hardly depends on how busy the machine is. A process that takes more is ended.
CPU_TIMES, CPU_MORE_S = 10.0, 5.0
MEMORY_MORE_BYTES = 4 << 30


class CannotReplace(Exception):
    """No loaded function has the code that is to be replaced, or its variables are others."""


Key = tuple[str, str, int]


def loaded_functions(root: str) -> dict[Key, list[FunctionType]]:
    """The functions of the files below `root`, by file, qualified name and line.

    A worker looks for them once. In each fork it would touch, and so copy, all of the memory.
    """
    found: dict[Key, list[FunctionType]] = {}
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename.startswith(root):
            found.setdefault(_key(one.__code__), []).append(one)
    return found


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def replace_code(loaded: Mapping[Key, list[FunctionType]], source: str, file: str, identity: str) -> None:
    """Put a mutation into the functions that are loaded. Raises `CannotReplace`."""
    module = sys.modules.get("actors." + module_of(file))
    if module is None:
        raise CannotReplace(identity)
    code = code_of(mutated(source, file, identity), str(module.__file__), identity.split(":")[1])
    found = loaded.get(_key(code), [])
    try:
        for one in found:
            one.__code__ = code
    except ValueError as error:
        raise CannotReplace(identity) from error
    if not found:
        raise CannotReplace(identity)


def limit_memory() -> None:
    """A mutation that fills the memory fails, before the machine has none left."""
    most = psutil.Process().memory_info().vms + MEMORY_MORE_BYTES
    with suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def move_temporary(folder: str) -> None:
    """Tests put their files into this folder from now on."""
    os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
    tempfile.tempdir = None


class Trial:
    """Runs the tests of a request. `items`: pytest's, by their ids. `say`: tells the worker how far it is."""

    def __init__(self, items: Mapping[str, pytest.Item], say: Callable[[Begun | Result], None]) -> None:
        self._items = items
        self._say = say
        self.failed = False  # set by the plugin that sees pytest's reports

    def run(self, request: Request) -> bool:
        """Run the tests until one fails, or all. Returns whether all passed."""
        passed = True
        items = [self._items.get(test.id) for test in request.tests]
        for at, test in enumerate(request.tests):
            following = next((one for one in items[at + 1 :] if one is not None), None)
            result = self._run_one(test, items[at], following)
            self._say(result)
            passed &= result.passed
            if not passed and request.stops:
                break
        return passed

    def _run_one(self, test: Test, item: pytest.Item | None, following: pytest.Item | None) -> Result:
        self._say(Begun(test))
        most_s = time.process_time() + CPU_TIMES * test.cpu_s + CPU_MORE_S
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(most_s), hard))
        self.failed = False
        hits, wall_s, cpu_s = os.environ.get(HITS), time.monotonic(), _cpu_s()
        if hits:
            take(hits)
        if item is None:
            from tests.simulation.runs import failing

            self.failed = bool(failing([int(test.id.removeprefix(SEED))]))
        else:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        took = Test(test.id, time.monotonic() - wall_s, _cpu_s() - cpu_s)
        return Result(took, not self.failed, take(hits) if hits else [])


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
