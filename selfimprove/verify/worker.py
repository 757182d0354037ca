"""The child process in which verifiers run: ``python -m selfimprove.verify.worker``.

Contract: started by `selfimprove.verify.child` and by nothing else. It reads jobs from one channel, judges sample by
sample and answers; what the verifier prints, raises or leaves behind cannot reach that channel. It ends with its
parent. Importing this module is cheap: every start of a worker pays for it.

See it work: ``pytest tests/verify/test_pool.py``.
"""

from __future__ import annotations

import faulthandler
import inspect
import io
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TextIO, cast

from selfimprove.text import clean
from selfimprove.types import Problem, Sample, Verdict, erring
from selfimprove.verify.forms import Form, form_of, load
from selfimprove.verify.verdicts import describe, normalise, normalise_all
from selfimprove.verify.wire import (
    LEAVING,
    Progress,
    Unit,
    decode_job,
    encode_notice,
    encode_verdicts,
    read_frame,
)

LOG_BYTES = 2**20
FLUSH_S = 0.1
"""A death loses at most this much finished work: results older than this have been sent."""

Verifier = Callable[..., Any]


def main(arguments: list[str]) -> None:
    """``channel progress log parent``: three descriptors (log may be -1) and the parent's process id."""
    channel, page, log, parent = map(int, arguments)
    _die_with(parent)
    for descriptor in (channel, page):
        os.set_inheritable(descriptor, False)
    progress = Progress(page)
    os.close(page)
    _redirect_output(log)
    os.register_at_fork(after_in_child=partial(os.close, channel))  # a fork must not keep the channel open
    setup = pickle.loads(read_frame(channel) or _end())
    _prepare(setup)
    try:
        verifier = load(setup["spec"], setup["args"])
        facts = verifier.facts() if hasattr(verifier, "facts") else {}
        ready = encode_notice({"ready": {str(name): str(value) for name, value in facts.items()}})
    except BaseException as error:  # the process wall: whatever a user's module does while loading is reported
        _write(channel, encode_notice({"broken": _load_failure(error), "code": getattr(error, "code", "")}))
        _end()
    _write(channel, ready)
    Judge(channel, progress, verifier, form_of(setup["spec"]), setup["threshold"], setup["timeout_s"]).serve()


class Judge:
    """Judges jobs until the channel ends. Verdicts of a job go out together, or as soon as `FLUSH_S` has passed."""

    def __init__(
        self,
        channel: int,
        progress: Progress,
        verifier: Verifier,
        form: Form,
        threshold: float | None,
        timeout_s: float,
    ) -> None:
        self.channel, self.progress = channel, progress
        self.verifier, self.form, self.threshold, self.timeout_s = verifier, form, threshold, timeout_s
        self.process = os.getpid()
        self.runner: Any = None

    def serve(self) -> None:
        while (payload := read_frame(self.channel)) is not None:
            number, careful, units = decode_job(payload)
            if self.form.concurrent and not careful:
                self.together(number, units)
            else:
                self.job(number, careful, units)
        _end()

    def job(self, number: int, careful: bool, units: Sequence[Unit]) -> None:
        """``careful`` jobs (a worker died over them, nobody knows where) send each verdict before the next unit."""
        judged: list[list[Verdict]] = []
        first, flushed = 0, time.monotonic()
        for index, (problem, samples) in enumerate(units):
            since = self.progress.begin(number, index)
            verdicts = self.verdicts(problem, samples)
            now = time.monotonic()
            judged.append([self.timed(verdict, now - since) for verdict in verdicts])
            if os.getpid() != self.process:  # a fork that returned from the verifier: it is not the worker
                os._exit(0)
            filled = any(verdict.error == "MemoryError" for verdict in verdicts)
            if careful or now - flushed > FLUSH_S or filled:
                self.send(number, first, judged)
                first, flushed, judged = index + 1, now, []
            if filled:  # what filled the memory may still hold it
                _write(self.channel, encode_notice(LEAVING))
                _end()
        if judged:
            self.send(number, first, judged)

    def together(self, number: int, units: Sequence[Unit]) -> None:
        """All units of a job at the same time, for verifiers that wait for somebody else."""
        from selfimprove.verify.concurrent import all_of

        said = self.awaited(all_of(self.verifier, units, self.progress, number, self.timeout_s))
        judged = [
            [self.timed(verdict, seconds) for verdict in self.normal(result, len(samples))]
            for (_, samples), (result, seconds) in zip(units, said, strict=True)
        ]
        self.send(number, 0, judged)

    def verdicts(self, problem: Problem, samples: Sequence[Sample]) -> list[Verdict]:
        try:
            result = self.verifier(problem, samples if self.form.kind == "group" else samples[0])
            if inspect.iscoroutine(result):
                result = self.awaited(result)
        except BaseException as error:  # the process wall: SystemExit and KeyboardInterrupt of a verifier, too
            result = error
        return self.normal(result, len(samples))

    def normal(self, result: Any, count: int) -> list[Verdict]:
        """The verdicts that a result means, or an exception that was raised instead of one."""
        try:
            if isinstance(result, BaseException):
                return [erring(clean(type(result).__name__, 100), describe(result))] * count
            if self.form.kind == "group":
                return normalise_all(result, count, self.threshold)
            return [normalise(result, self.threshold)]
        except MemoryError:
            return [erring("MemoryError")] * count

    def awaited(self, coroutine: Any) -> Any:
        """What a coroutine returns, on one event loop that lives as long as the worker."""
        import asyncio

        if self.runner is None:
            self.runner = asyncio.Runner()
        return self.runner.run(coroutine)

    def timed(self, verdict: Verdict, seconds: float) -> Verdict:
        if seconds > self.timeout_s:  # late, and the parent was busy: the deadline does not depend on who looked
            return erring("timeout", f"took {seconds:.1f} s, timeout_s is {self.timeout_s:g}", seconds=seconds)
        return Verdict(
            verdict.outcome,
            verdict.score,
            verdict.answer,
            verdict.reason,
            verdict.error,
            verdict.steps,
            seconds,
            verdict.measured,
        )

    def send(self, number: int, first: int, judged: Sequence[Sequence[Verdict]]) -> None:
        self.progress.rest()
        _write(self.channel, encode_verdicts(number, first, judged))


def _die_with(parent: int) -> None:
    """On Linux the kernel kills this process when the thread that started it ends; elsewhere the channel's end does."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request was made
        os._exit(0)


def _redirect_output(log: int) -> None:
    """stdout and stderr go to ``log``, bounded; the start-up stderr is kept for the last words of a crash."""
    last_words = os.dup(2)
    faulthandler.enable(file=last_words, all_threads=False)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)  # what C code and child processes print is not counted, so it is not kept
    os.dup2(sink, 2)
    os.close(sink)
    if log >= 0:
        os.set_inheritable(log, False)
    sys.stdout = sys.stderr = cast(TextIO, _text(_Bounded(log, LOG_BYTES)))


def _text(raw: io.RawIOBase) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(raw, 8192)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)


class _Bounded(io.RawIOBase):
    """Keeps the first ``budget`` bytes, counting what the log already holds, and drops the rest."""

    def __init__(self, log: int, budget: int) -> None:
        super().__init__()
        self.log = log
        self.budget = max(0, budget - os.fstat(log).st_size) if log >= 0 else 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any) -> int:
        kept = bytes(data[: self.budget])
        if kept:
            os.write(self.log, kept)
            self.budget -= len(kept)
        return len(data)


def _prepare(setup: dict[str, Any]) -> None:
    """The parent's import path and this process's limits, before any code of the user's is read."""
    sys.path[:] = setup["path"]
    if setup["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = setup["pythonpath"]
    try:
        import resource
    except ImportError:  # not a Unix
        return
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, setup["memory_mb"] * 2**20)


def _limit(which: int, value: int) -> None:
    import resource

    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(which, (value, hard))
    except (ValueError, OSError):  # a platform that knows the limit and does not enforce it
        return


def _load_failure(error: BaseException) -> str:
    from selfimprove.errors import SelfImproveError

    if isinstance(error, SelfImproveError):
        return clean(str(error) + (f" ({error.hint})" if error.hint else ""), 2000)
    return clean(f"{type(error).__name__}: {describe(error)}", 2000)


def _write(channel: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(channel, view) :]


def _end() -> Any:
    """The parent closed the channel: end at once, with whatever the verifier left running in this group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
