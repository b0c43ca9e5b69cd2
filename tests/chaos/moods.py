"""The recording client in its moods: the mood decides what it answers."""

from typing import Any

from tests.support.recording_client import RecordingClient, Reply

from .faults import Mood

PUBLISH_TIMEOUT_S = 1.0  # the service's publish.timeout_s in these runs
CLOSES = Reply(503, raw=())  # closes, and takes nothing
REPLIES = {
    Mood.FINE: Reply(200),
    Mood.DOWN: CLOSES,  # on a connection from before it went down
    Mood.FAILS: Reply(500),
    Mood.BUSY: Reply(429, {"Retry-After": "1"}),
    Mood.SLOW: Reply(200, after_s=PUBLISH_TIMEOUT_S * 1.5),
    Mood.TORN: Reply(200, raw=[b"HTTP/1.1 20"]),
    Mood.LOST: Reply(0),
}


class MoodyClient(RecordingClient):
    """Takes publishes, and is a bad client now and then. When it is down, nothing listens."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.mood = Mood.FINE

    def turn(self, mood: Mood) -> None:
        """Be in this mood from now on."""
        before, self.mood = self.mood, mood
        if mood is Mood.DOWN and before is not Mood.DOWN:
            self.__exit__()
        elif before is Mood.DOWN and mood is not Mood.DOWN:
            self.__enter__()

    @property
    def repeated(self) -> int:
        """The number of requests with a key that came before."""
        return len(self.received) - len(self.keys)

    def _reply(self, number: int, publish: dict[str, Any]) -> Reply:
        return REPLIES[self.mood]
