"""The logs of libraries, which are silenced: playtally logs the same events in its own words."""

import logging


def quiet_libraries() -> None:
    """Keep pynsq's log and tornado's access log out of ours. Children inherit it from the forkserver."""
    for name in ("nsq", "tornado.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
