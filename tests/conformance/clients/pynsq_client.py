"""A client of NSQ made of pynsq, as other people's programs are.

Its order is one JSON object on stdin, and what happens is one JSON object a line on stdout:
tests/conformance/clients/programs.py describes both.
"""

import asyncio
import json
import signal
import sys
import time
from typing import Any

import nsq

HELD_LOOK_S = 0.01


def say(**event: object) -> None:
    print(json.dumps(event), flush=True)


async def publish_all(order: dict[str, Any], settings: dict[str, Any]) -> None:
    writer = nsq.Writer([order["address"]], **settings)
    while not any(each.connected() for each in writer.conns.values()):
        await asyncio.sleep(HELD_LOOK_S)
    for each in order["publishes"]:
        bodies = [body.encode() for body in each["bodies"]]
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(_: object, data: object, answer: asyncio.Future[Any] = answer) -> None:
            answer.set_result(data)

        if each.get("defer_ms"):
            writer.dpub(each["topic"], each["defer_ms"], bodies[0], answered)
        elif len(bodies) == 1:
            writer.pub(each["topic"], bodies[0], answered)
        else:
            writer.mpub(each["topic"], bodies, answered)
        if isinstance(error := await answer, Exception):
            say(error=str(error))
        else:
            say(published=len(bodies))
    say(stopped=True)


class Reader(nsq.Reader):
    def giving_up(self, message: nsq.Message) -> None:
        say(given_up=message.body.decode())


async def read(order: dict[str, Any], settings: dict[str, Any]) -> None:
    held: set[asyncio.Task[None]] = set()
    late: list[nsq.Message] = []
    asked_to_stop, stopping = asyncio.Event(), asyncio.Event()

    def receive(message: nsq.Message) -> None:
        message.enable_async()
        task = asyncio.create_task(handle(message))
        held.add(task)
        task.add_done_callback(held.discard)

    async def handle(message: nsq.Message) -> None:
        say(
            body=message.body.decode(),
            id=message.id.decode(),
            stamp_ns=message.timestamp,
            attempts=message.attempts,
            at_ms=time.time_ns() // 1_000_000,
        )
        then, is_first = order["then"], message.attempts == 1
        if then == "requeue" or (then == "requeue once" and is_first):
            message.requeue(time_ms=order["delay_ms"])
            return
        if then == "touch":
            for _ in range(8):
                await asyncio.sleep(order["hold_ms"] / 8_000)
                message.touch()
        elif then == "hold":
            await stopping.wait()
        elif then == "answer late" and is_first:
            late.append(message)
            return
        message.finish()
        if late:
            late.pop().finish()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    reader = Reader(
        order["topic"],
        order["channel"],
        message_handler=receive,
        nsqd_tcp_addresses=[order["address"]],
        max_tries=order["attempts_max"],
        max_in_flight=order["max_in_flight"],
        max_backoff_duration=order["backoff_s"],
        msg_timeout=order["msg_timeout_ms"] / 1000,
        **settings,
    )
    await asked_to_stop.wait()
    reader.set_max_in_flight(0)  # RDY 0, before what it holds is answered
    stopping.set()
    while held:
        await asyncio.wait(held)
    reader.close()
    say(stopped=True)


def main() -> None:
    order = json.load(sys.stdin)
    # its client_id is the host name up to the first dot
    settings = {
        "hostname": order["client_id"],
        "snappy": order["compression"] == "snappy",
        "deflate": order["compression"] == "deflate",
    }
    asyncio.run(publish_all(order, settings) if order["do"] == "publish" else read(order, settings))


if __name__ == "__main__":
    main()
