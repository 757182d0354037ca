"""Live progress: a bar on a terminal, otherwise one line per 30 s and per stage.

Contract: everything goes to standard error. ``status.json`` in the run directory says the same to other processes; it
may be lost at any time. No banner, no spinner off a terminal, and ``NO_COLOR`` is honoured by rich.

See it work: ``selfimprove run quickstart 2>&1 | cat``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from selfimprove.errors import DiskFullError, PreconditionError
from selfimprove.store.files import RunFiles

EVERY_S = 30.0
STATUS_EVERY_S = 2.0


class Progress:
    """Counts of the stage under way. ``mode`` is ``auto``, ``none`` or a number of seconds between lines."""

    def __init__(self, files: RunFiles | None = None, mode: str = "auto") -> None:
        self._files, self._mode = files, mode
        self._name, self._done, self._total, self._tokens = "", 0, 0, 0
        self._began = self._spoke = self._wrote = 0.0
        self._live: Any = None
        terminal = sys.stderr.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
        self._rich = mode == "auto" and terminal
        self._every = EVERY_S if mode in ("auto", "none") else float(mode)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[], float]]:
        """A named stage of ``total`` samples (0: unknown). Yields a function that tells the seconds so far."""
        self._name, self._done, self._total, self._tokens = name, 0, total, 0
        self._began = self._spoke = time.monotonic()
        self._write("running")
        self._open_bar()
        try:
            yield lambda: time.monotonic() - self._began
        finally:
            self._close_bar()

    def done(self, samples: int, tokens: int = 0) -> None:
        """So many more samples (and new tokens) are finished."""
        self._done += samples
        self._tokens += tokens
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._task, completed=self._done, rate=self._rate(now))
        elif self._mode != "none" and now - self._spoke >= self._every:
            self._spoke = now
            self.say(f"{self._name}: {self._done}/{self._total} samples, {self._rate(now)}")
        if now - self._wrote >= STATUS_EVERY_S:
            self._write("running")

    def _rate(self, now: float) -> str:
        spent = max(now - self._began, 1e-6)
        left = (self._total - self._done) * spent / max(self._done, 1)
        return f"{self._tokens / spent:,.0f} tokens/s, {left:.0f} s left"

    def say(self, text: str) -> None:
        """One line for people."""
        if self._mode == "none":
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line about something unexpected: shown in every mode."""
        print(f"note: {text}", file=sys.stderr, flush=True)

    def state(self, state: str, **more: Any) -> None:
        """Write ``status.json`` now."""
        self._write(state, **more)

    def _write(self, state: str, **more: Any) -> None:
        self._wrote = time.monotonic()
        if self._files is None:
            return
        body = {"state": state, "stage": self._name, "done": self._done, "total": self._total, "at": time.time()}
        with suppress(OSError, DiskFullError, PreconditionError):  # the work itself says so if the disk is full
            self._files.replace_small("status.json", json.dumps({**body, "pid": os.getpid(), **more}).encode())

    def _open_bar(self) -> None:
        if not self._rich:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._live = Bar(*columns, TextColumn("{task.fields[rate]}"), console=Console(stderr=True), transient=True)
        self._live.start()
        self._task = self._live.add_task(self._name, total=self._total or None, rate="")

    def _close_bar(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
