"""Many samples at the same time, for verifiers that spend their time waiting: ``async def``.

Contract: every unit has its own deadline; one that is late is cancelled and costs an error for itself alone. While a
coroutine runs (and does not wait) the progress page names its unit, so that one that blocks the event loop is the one
that is blamed when the worker is killed.

See it work: ``pytest tests/verify/test_forms.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

from selfimprove.verify.wire import Progress, Unit

AT_ONCE = 32
"""Units that one worker has under way: what a server takes from a client without being told to expect more."""


class _Marked:
    """A coroutine that says when it runs: ``progress`` is set before each of its steps, and rests after it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], progress: Progress, number: int, index: int) -> None:
        self.coroutine, self.progress, self.number, self.index = coroutine, progress, number, index

    def __await__(self) -> Generator[Any, Any, Any]:
        value, step = None, self.coroutine.send
        while True:
            self.progress.begin(self.number, self.index)
            try:
                awaited = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self.progress.rest()
            try:
                value, step = (yield awaited), self.coroutine.send
            except BaseException as error:  # handed on to the coroutine, a cancellation among them
                value, step = error, self.coroutine.throw


async def all_of(
    verifier: Callable[..., Any], units: Sequence[Unit], progress: Progress, number: int, timeout_s: float
) -> list[tuple[Any, float]]:
    """What ``verifier`` returned or raised for each unit of job ``number``, and the seconds it took."""
    import asyncio

    room = asyncio.Semaphore(AT_ONCE)

    async def one(index: int, unit: Unit) -> tuple[Any, float]:
        async with room:
            began = time.monotonic()
            problem, samples = unit
            try:
                marked = _Marked(verifier(problem, samples[0]), progress, number, index)
                result: Any = await asyncio.wait_for(_awaited(marked), timeout_s)
            except TimeoutError:
                return None, max(time.monotonic() - began, timeout_s * 1.001)
            except Exception as error:  # the process wall: what a verifier raises is its answer
                result = error
            return result, time.monotonic() - began

    return list(await asyncio.gather(*(one(index, unit) for index, unit in enumerate(units))))


async def _awaited(marked: _Marked) -> Any:
    return await marked
