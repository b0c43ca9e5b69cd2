"""Takes messages from a queue without a library, where it does not matter which client does it."""

from tests.support.queues import QueueProcess, RawClient


def take(queue: QueueProcess, topic: str, channel: str, count: int) -> list[tuple[str, int]]:
    """Finish that many messages. Returns the body and the attempts of each, sorted."""
    with RawClient(queue.tcp_address) as reader:
        reader.subscribe(topic, channel, ready=count)
        messages = reader.messages(count)
        reader.finish(*(message.id for message in messages))
        reader.send(b"CLS\n")  # answered after the FINs
        assert reader.response() == b"CLOSE_WAIT"
    return sorted((message.body.decode(), message.attempts) for message in messages)
