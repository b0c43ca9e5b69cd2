"""How many publishes are here at once: requests of which the head has come, and that are not answered."""


class Here:
    """One request. `most`: how many were here at once so far, this one included."""

    most = 1


class Together:
    """All requests that are here."""

    def __init__(self) -> None:
        self._here: set[Here] = set()

    def came(self) -> Here:
        """Note that a request has come."""
        came = Here()
        self._here.add(came)
        for one in self._here:
            one.most = max(one.most, len(self._here))
        return came

    def gone(self, one: Here) -> None:
        """Note that a request is answered or broken off. A second call does nothing."""
        self._here.discard(one)
