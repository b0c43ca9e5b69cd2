"""Counts in words, for people: "1 message", "2,000 messages". Pure."""


def counted(count: int, one: str, several: str = "") -> str:
    """Return a count with its word. `several`: the word for more than one, if it is not `one` with an "s"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
