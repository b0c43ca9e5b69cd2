"""Silences the logs of libraries: playtally logs the same events in its own words."""

import logging


def quiet_libraries() -> None:
    """Keep pynsq's log and tornado's access log out of playtally's log.

    The forkserver calls this function too, so the children that it forks inherit the quiet loggers.
    """
    for name in ("nsq", "tornado.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
