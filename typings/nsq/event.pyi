from collections.abc import Callable

CONNECT: str
CLOSE: str
DATA: str
ERROR: str
IDENTIFY: str
READY: str
RESPONSE: str
MESSAGE: str
HEARTBEAT: str
BACKOFF: str
CONTINUE: str
RESUME: str
REQUEUE: str
TOUCH: str
FINISH: str
AUTH: str
AUTH_RESPONSE: str
IDENTIFY_RESPONSE: str

class EventedMixin:
    def on(self, name: str, callback: Callable[..., object]) -> None: ...
    def off(self, name: str, callback: Callable[..., object]) -> None: ...
    def trigger(self, name: str, *args: object, **kwargs: object) -> None: ...
