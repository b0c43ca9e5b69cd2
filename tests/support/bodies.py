"""Message bodies that are no plays."""

from actors.core.consumer.bodies import Bodies


def reason(body: bytes) -> str:
    """Why a body is not a play."""
    bodies = Bodies()
    assert bodies.video(body) is None
    return bodies.why
