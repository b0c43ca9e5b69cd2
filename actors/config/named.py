"""What the settings name has to be there before anything starts: files, and environment variables.

Goes by the names of the keys: "…_file" names a file to read, "…_env" an environment variable. Only a command
that uses them asks: `totals` needs no secret.
"""

import os

import msgspec

from ..system.regular import other_kind_of
from .loading import SEVERAL_PATHS
from .secrets import parts_of
from .sections import Settings


def missing(settings: Settings) -> list[str]:
    """One line for each file and variable that a setting names and that is not there, or is empty."""
    problems = []
    for section in settings.__struct_fields__:
        for key, value in msgspec.structs.asdict(getattr(settings, section)).items():
            name = f"{section}.{key}"
            if key.endswith("_env"):
                problems += [
                    f"{name} = {value!r}, but {why}" for why in map(_no_variable, parts_of(value)) if why
                ]
            elif key.endswith("_file") and value:
                paths = parts_of(value) if (section, key) in SEVERAL_PATHS else [value]
                problems += [f"{name} = {value!r}: {path} {why}" for path in paths if (why := _no_file(path))]
    if record := settings.client.record if settings.client.enabled else "":
        problems += [f"client.record = {record!r}: {why}" for why in [_not_to_write(record)] if why]
    return problems


def _no_variable(name: str) -> str:
    if os.environ.get(name):
        return ""
    return f"the environment variable {name} is not set or is empty; set it where the service is started"


def _no_file(path: str) -> str:
    if kind := other_kind_of(path):
        return f"is {kind}, expected a file"
    try:
        with open(path, "rb") as file:
            return "" if file.read(1) else "is empty, expected a file with something in it"
    except OSError as error:
        return f"can't be read ({error.strerror}), expected a file"


def _not_to_write(path: str) -> str:
    if kind := other_kind_of(path):
        return f"it is {kind}, expected a file to record publishes in"
    place = path if os.path.exists(path) else os.path.dirname(path)
    if os.access(place, os.W_OK):
        return ""
    return f"{place} is not there or can't be written, expected a file to record publishes in"
