"""One run: which tests reach which mutation, then each mutation against the tests that reach it."""

import math
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct

from .jobs import Job
from .population import Mutation, probed
from .protocol import Ended, Request, Result, Test

UNKNOWN_S = 60.0  # what a test is taken to need before it is measured, at most


class Fate(Struct, frozen=True):
    """What became of a mutation. `by`: what killed it; "" if it survives. `tests`: how many were run."""

    mutation: Mutation
    by: str
    tests: int


class Reached(Struct, frozen=True):
    """The tests that reach each mutation, by its id, quickest first; and those that the imports reach too."""

    tests: dict[str, list[Test]]
    by_imports: set[str]
    left_out: list[str]


@contextmanager
def jobs(root: Path, number: int, mutations: list[Mutation]) -> Iterator[list[Job]]:
    """This many copies of the checkout. Their workers are ended, and the copies deleted."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mut", ignore_cleanup_errors=True))
        )
        made: list[Job] = []
        tests = sorted({path for one in mutations for path in folders_of(root, one.file)})
        for at in range(number):
            (folder / str(at)).mkdir()
            made.append(Job(root, folder / str(at), tests))
            stack.callback(made[-1].stop)
        yield made


def in_parallel(all_jobs: list[Job], works: list[Callable[[Job], None]]) -> None:
    """Do all works, each with one of the jobs. Raises what one of them has raised."""
    left: queue.SimpleQueue[Callable[[Job], None]] = queue.SimpleQueue()
    for work in works:
        left.put(work)
    failures: list[BaseException] = []

    def go_on(job: Job) -> None:
        try:
            while not failures:
                left.get_nowait()(job)
        except queue.Empty:
            pass
        except BaseException as failure:  # noqa: BLE001  raised in the main thread
            failures.append(failure)

    threads = [threading.Thread(target=go_on, args=(job,), daemon=True) for job in all_jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def measure(all_jobs: list[Job], mutations: list[Mutation]) -> Reached:
    """Run all tests once, without a mutation, and note which of them reach which mutation."""
    numbers = {one.id: number for number, one in enumerate(mutations)}
    sources = {file: (all_jobs[0].copy / file).read_text() for file in {one.file for one in mutations}}
    for job in all_jobs:
        for file, source in sources.items():
            (job.copy / file).write_text(probed(source, file, numbers))
    for job in all_jobs:
        job.start(hits=True)
    hello = all_jobs[0].hello()
    measuring = _Measuring(mutations, hello.hits)
    names = [one for one in hello.tests if any(belongs(one, file) for file in sources)]
    in_parallel(all_jobs, [partial(measuring.run, some) for some in _by_file(names)])
    for job in all_jobs:
        job.stop()
        for file, source in sources.items():
            (job.copy / file).write_text(source)
    tests = {one.id: sorted(measuring.tests[one.id], key=_order) for one in mutations}
    return Reached(tests, {mutations[hit].id for hit in hello.hits}, measuring.left_out)


class _Measuring:
    """Which tests reach which mutation. `by_imports`: what the imports reach; any test may notice it."""

    def __init__(self, mutations: list[Mutation], by_imports: list[int]) -> None:
        self._mutations = mutations
        self._by_imports = by_imports
        self.tests: dict[str, list[Test]] = {one.id: [] for one in mutations}
        self.left_out: list[str] = []

    def run(self, names: list[str], job: Job) -> None:
        """Run these tests. One that ends its process, or hangs, is left out, and those behind it are run."""
        while names:
            answer = job.ask(Request([Test(name, UNKNOWN_S, UNKNOWN_S) for name in names], stops=False))
            for result in answer.results:
                self._take(result)
            if answer.ended in (Ended.PASSED, Ended.FAILED):
                return
            self.left_out.append(f"{answer.last} ({answer.ended})")
            names = names[names.index(answer.last) + 1 :]

    def _take(self, result: Result) -> None:
        if not result.passed:
            self.left_out.append(result.test.id)
            return
        for one in (self._mutations[hit] for hit in {*result.hits, *self._by_imports}):
            if belongs(result.test.id, one.file):
                self.tests[one.id].append(result.test)


def folders_of(root: Path, file: str) -> list[str]:
    """The files and folders with the tests of a module: in its folder, above it and below it."""
    parts = file.removeprefix("actors/").split("/")[:-1]
    folder = root / "tests" / "unit"
    found = []
    for part in parts:
        folder /= part
        found += [str(path.relative_to(root)) for path in folder.glob("test_*.py")]
    found.append(str(folder.relative_to(root)))
    return found


def belongs(test: str, file: str) -> bool:
    """Whether a test is one of a module's: in its folder, above it, below it; or a run of the simulation."""
    folder = file.removeprefix("actors/").rpartition("/")[0]
    if not test.startswith("tests/unit/"):
        return folder.startswith("core")
    tested = test.partition("::")[0].removeprefix("tests/unit/").rpartition("/")[0]
    return f"{tested}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{tested}/")


def _by_file(names: list[str]) -> list[list[str]]:
    """Tests that share a file, in lists. The simulation's seeds are in lists of ten."""
    files: dict[str, list[str]] = {}
    for at, name in enumerate(names):
        file = name.split("::")[0] if "::" in name else f"seeds {at // 10}"
        files.setdefault(file, []).append(name)
    return sorted(files.values(), key=lambda one: ("/store/" not in one[0], -len(one)))


def _order(test: Test) -> tuple[bool, float]:
    """The tests of the modules come first, quickest first; then the simulation."""
    return "tests/unit/" not in test.id, test.wall_s + test.cpu_s


def try_all(
    all_jobs: list[Job],
    mutations: list[Mutation],
    reached: Reached,
    done: Callable[[Fate], None],
    quick_s: float = math.inf,
) -> None:
    """Try each mutation, and say at once what became of it. Tests of more CPU than `quick_s` are left out."""
    lock = threading.Lock()

    def one(mutation: Mutation) -> Callable[[Job], None]:
        def work(job: Job) -> None:
            tests = [test for test in reached.tests[mutation.id] if test.cpu_s <= quick_s]
            fate = try_one(job, mutation, tests, mutation.id in reached.by_imports)
            with lock:
                done(fate)

        return work

    for job in all_jobs:
        job.start()
    in_parallel(all_jobs, [one(mutation) for mutation in mutations])


def try_one(job: Job, mutation: Mutation, tests: list[Test], anew: bool) -> Fate:
    """Run the tests that reach a mutation until one notices it. `anew`: in a process that imports it."""
    left, tried = tests, 0
    while left:
        request = Request(left, mutation.id, mutation.file)
        answer = job.ask(request) if not anew else job.ask_anew(Request(left), mutation)
        if answer.ended is Ended.REFUSED:
            assert not anew, f"{mutation.id} cannot be tried: {answer}"
            anew = True
            continue
        tried += len(answer.results)
        if answer.ended is Ended.PASSED:
            break
        if answer.ended is not Ended.TIME:
            words = {Ended.FAILED: "", Ended.DIED: " (died)", Ended.CPU: " (endless)"}
            return Fate(mutation, answer.last + words[answer.ended], tried)
        # Is the machine too busy for this test, or does the mutation hang?
        at = next(at for at, test in enumerate(left) if test.id == answer.last)
        if job.ask(Request([left[at]])).ended is Ended.PASSED:
            return Fate(mutation, f"{answer.last} (hangs)", tried)
        left = left[at + 1 :]
    return Fate(mutation, "", tried)
