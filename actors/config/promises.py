"""What the settings promise the client."""

from ..core.client.promises import Promises
from .sections import Settings


def promises_of(settings: Settings) -> Promises:
    """Return the promises that follow from [dispatch]."""
    dispatch = settings.dispatch
    return Promises(
        realtime_below=dispatch.realtime_below,
        deadline_s=float(dispatch.deadline_s),
        batch_size_max=dispatch.batch_size_max,
        every_play=dispatch.realtime == "every_play",
    )
