"""The answers of one child to numbered questions: each goes to who waits for it, if anyone still does."""

import asyncio


class Answers:
    """Numbers questions, and waits for what the child says to them."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    def next_number(self) -> int:
        """The number of a new question. No other has it."""
        self._last += 1
        return self._last

    async def to(self, number: int, timeout_s: float) -> bytes | None:
        """Wait for the answer to a question. Returns None if none comes in time, or none will come."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await asyncio.wait([answer], timeout=timeout_s)
        self._waiting.pop(number, None)
        return answer.result() if answer.done() and not answer.cancelled() else None

    def came(self, number: int, answer: bytes) -> None:
        """Hand over an answer."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def none_will_come(self) -> None:
        """The child is gone."""
        for answer in self._waiting.values():
            answer.cancel()
        self._waiting.clear()
