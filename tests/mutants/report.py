"""What a run prints, and whether it is good: all survivors are listed with their reasons, and no others."""

from pathlib import Path

from .run import Fate

LISTED = Path(__file__).with_name("survivors.md")


def listed(path: Path = LISTED) -> set[str]:
    """The ids of the mutations in the table of survivors."""
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {row.split("`")[1] for row in rows}


def line_of(fate: Fate, is_listed: bool) -> str:
    """One survivor, in one line."""
    one = fate.mutation
    tests = f"{fate.tests} tests pass" if fate.tests else "no test reaches it"
    state = "listed" if is_listed else "NEW"
    return f"{one.file}:{one.line}: {one.before}  ->  {one.after}  [{one.id}; {tests}; {state}]"


def summary(fates: list[Fate], known: set[str]) -> str:
    """The last line."""
    surviving = [one.mutation.id for one in fates if not one.by]
    killed = len(fates) - len(surviving)
    old = sum(one in known for one in surviving)
    return (
        f"{killed} of {len(fates)} killed ({100 * killed / max(len(fates), 1):.1f} %), "
        f"{len(surviving)} survive: {old} listed, {len(surviving) - old} new"
    )


def problems(fates: list[Fate], known: set[str], population: set[str], complete: bool) -> list[str]:
    """Why the run is not good. `complete`: the whole population was tried, so a listed one has to survive."""
    surviving = {one.mutation.id for one in fates if not one.by}
    found = [f"{one} survives and is not listed in {LISTED.name}" for one in sorted(surviving - known)]
    found += [f"{one} is listed in {LISTED.name}, and is no mutation" for one in sorted(known - population)]
    if complete:
        killed = {one.mutation.id for one in fates if one.by}
        found += [f"{one} is listed in {LISTED.name}, and is killed" for one in sorted(known & killed)]
    return found
