"""How often a process wakes up, as the benchmarks count it."""

import os
import threading
import time

from bench.processes import wake_ups


def test_each_wait_of_each_thread_is_a_wake_up():
    def wait_often(times):
        for _ in range(times):
            time.sleep(0.001)

    threads_end = threading.Event()
    waited = threading.Barrier(3)

    def work():
        wait_often(100)
        waited.wait()
        threads_end.wait()  # a thread that has ended is not counted any more

    before = wake_ups(os.getpid())
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    waited.wait()
    assert wake_ups(os.getpid()) - before >= 200
    threads_end.set()
    for thread in threads:
        thread.join()
