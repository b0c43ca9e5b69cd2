"""Helpers of the fuzz tests: the number of examples, spoilt bytes, cut streams, memory of a process."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# FUZZ_RUNS=100 tries a hundred times as many examples as an ordinary test run.
RUNS = int(os.environ.get("FUZZ_RUNS", "1"))


def tries(examples: int) -> settings:
    """The settings of one fuzz test: `examples` times FUZZ_RUNS examples."""
    return settings(
        deadline=None,
        max_examples=examples * RUNS,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@st.composite
def spoilt(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of `whole` after up to three changes: bytes replaced, left out, doubled or added."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 8)))
        match draw(st.sampled_from(["change", "leave out", "double", "put in"])):
            case "change":
                content[at:to] = draw(st.binary(min_size=to - at, max_size=to - at))
            case "leave out":
                del content[at:to]
            case "double":
                content[at:at] = content[at:to]
            case "put in":
                content[at:at] = draw(st.binary(max_size=4))
    return bytes(content)


def cut(draw: st.DrawFn, content: bytes) -> list[bytes]:
    """The bytes in pieces, as a network may bring them."""
    places = sorted(draw(st.lists(st.integers(0, len(content)), max_size=8)))
    return [content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)]


def memory_mb(pid: int | str = "self") -> float:
    """The peak memory of a process since it started, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has ended")
