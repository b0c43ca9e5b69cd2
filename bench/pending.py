"""What a pending video costs the dispatcher: CPU per offer, by the number of videos in a message, and memory.

    python -m bench.pending [--videos 1000000]

`Pending` messages with new videos go through the mailbox's decoder into the dispatcher's rules, until
`--videos` are pending (or a bound on messages is reached). Fifty videos arrived in each millisecond, as in a
backlog. After each message the rules are asked for the next wake-up, as the timer does in the service. In the
column "publishes of 2 ms" the rules have measured publishes, so deadlines leave the earlier the more there
are; in the other columns all leave equally early. Then a batch is measured: twenty realtime videos are
offered, taken and confirmed while a number of deadlines, spread over half a minute, is pending.
"""

import gc
import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor

from actors.core.columns import pack_numbers
from actors.core.dispatcher.lead_time import LeadTime
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.rules import DispatcherRules
from actors.core.dispatcher.schedule import Schedule
from actors.core.messages import DispatcherInbox, Pending
from actors.supervision.mailbox import Decoder, encode

from .command import parser, show
from .processes import own_memory_bytes

SIZES = (1, 16, 128, 512, 4096)
MESSAGES_MAX = 2000
VIDEOS_A_MS = 50
NOW_MS = 1_700_000_000_000
BATCH = 20
BATCHES = 100
COLUMNS = (
    "videos a message",
    "pending",
    "µs an offer",
    "bytes a video",
    "µs an offer, publishes of 2 ms",
)


def main() -> None:
    """Measure and print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=1_000_000)
    options = arguments.parse_args()
    rows = []
    for size in SIZES:
        messages = max(1, min(options.videos // size, MESSAGES_MAX))
        us, pending_bytes = _apart(size, messages, [])
        measured_us, _ = _apart(size, messages, [2.0] * 10)
        fits = f"{pending_bytes:.0f}" if size * messages > 100_000 else ""
        rows.append((str(size), f"{size * messages:,}", f"{us:.2f}", fits, f"{measured_us:.2f}"))
    show(COLUMNS, rows, "offers", texts=0)
    for waiting in (0, 1000, 30_000):
        print(f"a batch of {BATCH}, {waiting:,} deadlines waiting: {batch_us(waiting):.0f} µs")


def _apart(size: int, messages: int, publishes_ms: list[float]) -> tuple[float, float]:
    """`offers` in a new process, so that the memory is that of the offers alone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(offers, size, messages, publishes_ms).result()


def offers(size: int, messages: int, publishes_ms: list[float]) -> tuple[float, float]:
    """CPU time (µs) and memory (bytes) per video."""
    chance = random.Random(1)
    mails = [_mail(chance, size, number * size) for number in range(messages)]
    dispatching = DispatcherRules(Rule(1), 1, BATCH, service="bench", jitter=chance.random)
    dispatching.linked(0, NOW_MS)
    for publish_ms in publishes_ms:
        dispatching._lead_time.measure(publish_ms)
    decoder: Decoder[DispatcherInbox] = Decoder(DispatcherInbox)
    gc.collect()
    before, started_s = own_memory_bytes(), time.process_time()
    for number, mail in enumerate(mails):
        dispatching.handle(0, decoder.feed(mail), NOW_MS + number * size // VIDEOS_A_MS)
        dispatching.wakeup_ms()
    seconds = time.process_time() - started_s
    videos = dispatching.stats().pending_videos
    assert videos == size * messages, (videos, size * messages)
    return seconds / videos * 1e6, (own_memory_bytes() - before) / videos


def _mail(chance: random.Random, size: int, first: int) -> bytes:
    arrived_ms = [NOW_MS + number // VIDEOS_A_MS for number in range(first, first + size)]
    ordinals = [chance.randint(1, 3) for _ in range(size)]
    stamps = pack_numbers(stamp_ms * 1_000_000 for stamp_ms in arrived_ms)
    return encode(Pending(chance.randbytes(16 * size), stamps, pack_numbers(ordinals)))


def batch_us(waiting: int) -> float:
    """CPU time (µs) of a batch of realtime videos while `waiting` deadlines are pending."""
    chance, lead_time = random.Random(1), LeadTime(Rule().deadline_ms)
    for _ in range(10):
        lead_time.measure(2.0)
    schedule = Schedule(Rule(), BATCH, lead_time)
    for _ in range(waiting):
        schedule.offer(chance.randbytes(16), NOW_MS - chance.randrange(30_000), 100, NOW_MS)
    started_s = time.process_time()
    for _ in range(BATCHES):
        for _ in range(BATCH):
            schedule.offer(chance.randbytes(16), NOW_MS, 1, NOW_MS)
        schedule.next_due_ms()
        _, videos = schedule.take(NOW_MS)
        for video in videos:
            schedule.confirm(video, 1)
    return (time.process_time() - started_s) / BATCHES * 1e6


if __name__ == "__main__":
    main()
