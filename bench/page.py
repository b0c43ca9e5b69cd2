"""How fast the client's page is with many videos, and how much memory its tab takes, in a real Chromium.

    python -m bench.page [--videos N] [--rounds N] [--picture FILE] [--json FILE]

A reference client, a process of its own, gets a total of each video, twenty in a publish. Each round then
opens the page in a new tab and measures:

    first paint   from the navigation to the first contentful paint
    rows          from the navigation to the first 300 rows
    search        from the last key to the row of a video that the page did not have
    tab           the memory that only the tab's process has (USS), after the search
    all           that of all processes of the browser that show pages or run their workers

The page is told the 20,000 videos with the most plays; the client finds the others.
"""

import contextlib
import http.client
import json
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
from msgspec import Struct

from tests.support.page_client import Client

from .command import add_json, folder, parser, show, write_json

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VIDEOS = 100_000
ROWS = 300  # as many as the page shows
TIMEOUT_S = 120.0
WIDTH, HEIGHT = 1280, 1180
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
HAS_ROWS = "count => document.querySelectorAll('#rows tr').length === count"


class Round(Struct, frozen=True):
    """What one tab took."""

    first_paint_s: float
    rows_s: float
    search_s: float
    tab_mb: float
    all_mb: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=VIDEOS, metavar="N")
    arguments.add_argument("--rounds", type=int, default=5, metavar="N")
    arguments.add_argument(
        "--picture", type=Path, metavar="FILE", help="write what the last tab shows, as PNG"
    )
    add_json(arguments)
    options = arguments.parse_args()
    videos = [
        str(uuid.UUID(int=Random(number).getrandbits(128), version=4)) for number in range(options.videos)
    ]
    with folder() as path, _client(path) as client, _browser() as browser:
        print(f"publishing {len(videos):,} videos to a reference client", file=sys.stderr)
        publish(client.port, videos)
        # The last ones have the fewest plays, so the page is not told of them.
        found = [
            _round(browser, client.port, videos[-1 - number], options) for number in range(options.rounds)
        ]
    columns = Round.__struct_fields__
    medians = [statistics.median(getattr(one, name) for one in found) for name in columns]
    worst = [max(getattr(one, name) for one in found) for name in columns]
    rows = [["median", *map(_figure, columns, medians)], ["worst", *map(_figure, columns, worst)]]
    title = f"{len(videos):,} videos, {len(found)} rounds"
    show(["", "first paint", "rows", "search", "tab", "all"], rows, title)
    write_json(options.json, found)


def _figure(name: str, value: float) -> str:
    return f"{value:.3f} s" if name.endswith("_s") else f"{value:.0f} MB"


@contextlib.contextmanager
def _client(path: Path) -> Iterator[Client]:
    client = Client(path)
    client.start()
    try:
        yield client
    finally:
        client.kill()


@contextlib.contextmanager
def _browser() -> Iterator["Browser"]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("playwright is not installed: `make test` installs it")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


def publish(port: int, videos: list[str]) -> None:
    """Publish a total of each video, those of the first videos the greatest."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        for start in range(0, len(videos), 20):
            now_ns = time.time_ns()
            rows = [
                {"video_id": video, "plays": 10_000_000 // (start + at + 1) + 1, "arrived_at_ns": now_ns}
                for at, video in enumerate(videos[start : start + 20])
            ]
            body = json.dumps({"batch": f"b-{start}", "trigger": "deadline", "videos": rows})
            connection.request("POST", "/plays", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                sys.exit(f"the client answers {answer.status}: {told.decode()}")


def _round(browser: "Browser", port: int, sought: str, options: Any) -> Round:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_S * 1000)
    began_s = time.perf_counter()
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_function(HAS_ROWS, arg=min(ROWS, options.videos))
    rows_s = time.perf_counter() - began_s
    first_paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    search_s = _search(page, sought)
    tab_mb, all_mb = _memory_mb(browser)
    if options.picture:
        page.locator("#filter").fill("")
        page.wait_for_function(HAS_ROWS, arg=min(ROWS, options.videos))
        page.screenshot(path=options.picture)
    context.close()
    return Round(first_paint_ms / 1000, rows_s, search_s, tab_mb, all_mb)


def _search(page: "Page", sought: str) -> float:
    page.locator("#filter").click()
    page.keyboard.type(sought[:7])
    began_s = time.perf_counter()
    page.keyboard.type(sought[7])
    page.wait_for_selector(f'#rows tr[data-id="{sought}"]')
    return time.perf_counter() - began_s


def _memory_mb(browser: "Browser") -> tuple[float, float]:
    """Of the largest renderer, which is the tab's, and of all."""
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    pids = [one["id"] for one in told["processInfo"] if one["type"] == "renderer"]
    taken = [psutil.Process(pid).memory_full_info().uss / 1e6 for pid in pids if psutil.pid_exists(pid)]
    return max(taken), sum(taken)


if __name__ == "__main__":
    main()
