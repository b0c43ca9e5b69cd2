"""What a run and its workers say to each other: one line of JSON each, on a socket."""

from enum import StrEnum

from msgspec import Struct


class Ended(StrEnum):
    """How the tests of a request ended."""

    PASSED = "passed"
    FAILED = "failed"
    DIED = "died"  # the process was ended by the mutation
    CPU = "cpu"  # a test took far more CPU time than without the mutation
    TIME = "time"  # a test did not end; the machine may be to blame
    REFUSED = "refused"  # the mutation cannot be put into a process that runs


class Test(Struct, frozen=True):
    """A test: pytest's node id, or "seed 7" for a run of the simulation. Its times: without a mutation."""

    __test__ = False  # pytest is not to take it for a class of tests

    id: str
    wall_s: float = 0.0
    cpu_s: float = 0.0


class Request(Struct, frozen=True):
    """Run these tests in this order, with this mutation ("" for none) of this file, until one fails."""

    tests: list[Test]
    mutation: str = ""
    file: str = ""
    stops: bool = True


class Result(Struct, frozen=True, tag=True):
    """One test that was run. `hits`: the numbers of the probes that it reached."""

    test: Test
    passed: bool
    hits: list[int]


class Begun(Struct, frozen=True, tag=True):
    """From the fork to its worker: the next test begins."""

    test: Test


class Answer(Struct, frozen=True):
    """What a request came to. `last`: the test that was running at the end; "" if there was none."""

    ended: Ended
    last: str
    results: list[Result]


class Hello(Struct, frozen=True):
    """From a worker that has collected the tests. `hits`: the probes that the imports reached."""

    tests: list[str]
    errors: int
    hits: list[int]
