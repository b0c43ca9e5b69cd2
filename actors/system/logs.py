"""The log of libraries: playtally says in words of its own what they would say."""

import logging


def quiet_libraries() -> None:
    """Keep pynsq's log and tornado's access log out of ours. Children inherit it from the forkserver."""
    for name in ("nsq", "tornado.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
