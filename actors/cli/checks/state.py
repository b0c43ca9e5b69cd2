"""The state folder, its ledgers, and the service that runs on it."""

import asyncio
import errno
import json
import os
import shutil
import tempfile
import time
import urllib.error
from pathlib import Path

from ...config import Settings
from ...core.words import counted
from ...sinks import reason_of
from ...store.elsewhere import check_elsewhere
from ...store.folder import check_complete, find
from ...store.older import check_ages
from ...store.publish_totals import read_totals
from ...store.snapshot import open_snapshot
from ...store.topic import check_topic
from ...store.untouched import left_if_refused
from ...system import runfile
from ...system.direct_http import open_directly
from ...system.exits import Failure, StoreFailure
from ...system.installation import service_command
from ...system.ownership import check_owner
from .finding import Finding, fails, skipped, warns, works

FOLDER, STORE, SERVICE = "state folder", "store", "service"
FREE_BYTES_MIN = 200 * 1024 * 1024
TIMEOUT_S = 5.0
CONNECTING_S = 3.0  # a service that has just started is connected to its nsqds by then


def check_folder(settings: Settings) -> Finding:
    """Write a file without a name into the state folder."""
    folder = Path(settings.supervisor.state_dir)
    try:
        check_owner(folder)
    except StoreFailure as failure:
        found, _, remedy = str(failure).rpartition("; ")
        return fails(FOLDER, found, remedy)
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"playtally")
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
        if made:
            folder.rmdir()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return fails(FOLDER, f"{folder} cannot be written ({error.strerror})", "make room")
        found = f"{folder} cannot be written ({error.strerror}), expected a folder that this user can write"
        return fails(FOLDER, found, "see supervisor.state_dir")
    room = f"{free / 2**30:,.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return warns(
            FOLDER, f"{folder} can be written, {room}", "make room: on a full disk the service waits"
        )
    return works(FOLDER, f"{folder} can be written, {room}")


def check_store(settings: Settings) -> Finding:
    """Look whether the files of the state are there, and are made for these settings. Reads a copy."""
    state_dir = settings.supervisor.state_dir
    try:
        check_owner(state_dir)
        found = find(state_dir) if Path(state_dir).is_dir() else None
        if found is None:
            return skipped(STORE, "nothing was ever counted here; the first start makes the ledgers")
        check_complete(state_dir, found)
        if found.shards != settings.counters.shards:
            text = (
                f"ledgers are for counters.shards = {found.shards}, and now it is {settings.counters.shards}"
            )
            return fails(STORE, text, f"`{service_command()} reshard` divides them again")
        outbox = found.outbox(state_dir)
        with open_snapshot(outbox) as connection:
            check_topic(outbox, connection, settings.nsq.topic, settings.nsq.play_id)
            stores = read_totals(connection).stores
        if not runfile.is_held(state_dir):  # else they go on while we look
            synchronous = settings.counters.synchronous
            check_elsewhere(state_dir, outbox, stores, synchronous)
            with left_if_refused(found.files(state_dir)):
                check_ages(state_dir, found, range(found.shards), synchronous)
    except Failure as failure:
        return fails(STORE, str(failure))
    topic = settings.nsq.topic
    text = counted(found.shards, f"ledger of topic {topic} is", f"ledgers of topic {topic} are")
    return works(STORE, f"{text} there; `totals --verify` reads them whole")


async def check_service(settings: Settings) -> Finding:
    """Ask the service whether it is healthy."""
    try:
        check_owner(settings.supervisor.state_dir)
    except StoreFailure:
        return skipped(SERVICE, "whether one runs can't be seen by this user: see the state folder")
    facts = runfile.read(settings.supervisor.state_dir)
    if facts is None and runfile.is_held(settings.supervisor.state_dir):
        return warns(SERVICE, "one is starting or ending, or a restore or reshard works there", "see its log")
    if facts is None:
        return skipped(SERVICE, f"no service runs on this state folder; start one with `{service_command()}`")
    url, pid = f"http://{facts['admin_address']}", facts["pid"]
    deadline_s = time.monotonic() + CONNECTING_S
    try:
        while reasons := _ill(url):
            if time.monotonic() > deadline_s:
                return fails(SERVICE, f"pid {pid} runs, but {'; '.join(reasons)}", "see its log")
            await asyncio.sleep(0.1)
    except (OSError, ValueError) as error:
        return fails(SERVICE, f"pid {pid} does not answer at {url} ({reason_of(error)})", "see its log")
    return works(SERVICE, f"runs, pid {pid}, status at {url}/status")


def _ill(url: str) -> list[str]:
    """Return why the service at `url` is not healthy; empty if it is. Raises `OSError`, `ValueError`."""
    try:
        with open_directly(f"{url}/healthz", TIMEOUT_S):
            return []
    except urllib.error.HTTPError as error:
        with error:
            told = json.load(error)
        return list(told.get("reasons") or [f"it answers {error.code}"])
