"""What can keep the reference client from starting or from taking a publish."""


class ClientError(Exception):
    """The text says what is wrong, with what, what was expected and what to do."""


class AddressError(ClientError):
    """The address cannot be listened on."""


class StoreError(ClientError):
    """The store cannot be opened, read or written."""


class MalformedPublish(ValueError):
    """A request that is no publish: which `field`, and what was `expected` there."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"{field}: {found}, expected {expected}")
        self.field = field
        self.expected = expected
