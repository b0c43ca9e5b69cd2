"""Why the reference client refuses a request. An address or a store that fails is in `system/exits.py`."""


class MalformedPublish(ValueError):
    """A request that is no publish: `field` is what is wrong, `expected` is what should be there."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"{field}: {found}, expected {expected}")
        self.field = field
        self.expected = expected
