"""How a run is asked to stop, and how it does: at a safe point, with exit code 75.

Contract: the first SIGINT or SIGTERM (or SIGUSR1, which schedulers send) asks for a stop at the next safe point; the
second ends the process at once, which loses nothing committed. `Stop.check` is called between units of work.

See it work: press Ctrl-C in a run, then type the same command again.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from selfimprove.errors import Stopped

STAGES = ("select",)
"""Where a run may stop as asked: a round's training rows are chosen and written."""


@dataclass
class Stop:
    """Whether a stop was requested, and by what.

    ``until`` names a stage (`STAGES`) after which to stop, ``parts`` how many parts of a step are drawn before that.
    """

    reason: str = ""
    requested: bool = False
    on_request: Any = field(default=None)
    until: str = ""
    parts: int | None = None

    def request(self, reason: str) -> None:
        self.requested, self.reason = True, reason
        if self.on_request is not None:
            self.on_request(reason)

    def after(self, stage: str) -> None:
        """Raise Stopped if this is the stage to stop after."""
        if stage == self.until:
            raise Stopped(f"stopped after {stage}, as asked", hint="the same command without --until continues")

    def check(self) -> None:
        """Raise Stopped if a stop was requested."""
        if self.requested:
            self.raise_stopped()

    def raise_stopped(self) -> None:
        raise Stopped(f"stopped at a safe point ({self.reason})", hint="the same command continues")


def spare_collector() -> None:
    """Collect garbage less often in this process, which holds many long-lived problems and no cycles to speak of.

    Worth 13 to 18 % of a million scripted samples (``python -m benchmarks million``).
    """
    gc.set_threshold(50_000, 20, 50)


@contextmanager
def signals(stop: Stop) -> Iterator[None]:
    """Within this block signals request a stop. Outside the main thread signals are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if stop.requested:
            os._exit(128 + number)
        stop.request(signal.Signals(number).name)

    wanted = [number for number in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, number)]
    before = {name: signal.signal(getattr(signal, name), handle) for name in wanted}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
