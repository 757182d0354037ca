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
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO, cast

from selfimprove.text import clean
from selfimprove.types import Problem, Sample, Verdict, erring
from selfimprove.verify.verdicts import describe, normalise
from selfimprove.verify.wire import LEAVING, READY, Progress, decode_job, encode_notice, encode_verdicts, read_frame

LOG_BYTES = 2**20
FLUSH_S = 0.1
"""A death loses at most this much finished work: results older than this have been sent."""

Verifier = Callable[[Problem, Sample], Any]


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
    except BaseException as error:  # the process wall: whatever a user's module does while loading is reported
        _write(channel, encode_notice({"broken": _load_failure(error)}))
        _end()
    _write(channel, encode_notice(READY))
    Judge(channel, progress, verifier, setup["threshold"], setup["timeout_s"]).serve()


def load(spec: str, args: dict[str, Any]) -> Verifier:
    """The verifier with its options bound. Raises ConfigError if it is missing or does not take them."""
    from selfimprove import plugins
    from selfimprove.errors import ConfigError

    found = plugins.resolve("verifier", spec)
    form = "a verifier is `def name(problem, sample, **options) -> bool | float | Verdict`"
    if not callable(found):
        raise ConfigError(f"verifier {spec!r} is a {type(found).__name__}, not a function: {form}")
    if inspect.iscoroutinefunction(found):
        raise ConfigError(f"verifier {spec!r} is an async function: {form}")
    try:
        signature = inspect.signature(found)
        signature.bind(None, None, **args)
    except ValueError:  # a callable written in C may have no signature to check
        pass
    except TypeError as error:
        raise ConfigError(f"verifier {spec!r}{signature} with verifier.args {args}: {error}; {form}") from error
    return partial(found, **args) if args else found


class Judge:
    """Judges jobs until the channel ends. Verdicts of a job go out together, or as soon as `FLUSH_S` has passed."""

    def __init__(
        self, channel: int, progress: Progress, verifier: Verifier, threshold: float | None, timeout_s: float
    ) -> None:
        self.channel, self.progress = channel, progress
        self.verifier, self.threshold, self.timeout_s = verifier, threshold, timeout_s
        self.process = os.getpid()

    def serve(self) -> None:
        while (payload := read_frame(self.channel)) is not None:
            self.job(payload)
        _end()

    def job(self, payload: bytes) -> None:
        """``careful`` jobs (a worker died over them, nobody knows where) send each verdict before the next sample."""
        number, careful, problems, rows = decode_job(payload)
        verdicts: list[Verdict] = []
        first, flushed = 0, time.monotonic()
        for index, (place, fields) in enumerate(rows):
            sample = Sample(*fields)
            since = self.progress.begin(number, index)
            verdict = self.verdict(problems[place], sample)
            now = time.monotonic()
            verdicts.append(self.timed(verdict, now - since))
            if os.getpid() != self.process:  # a fork that returned from the verifier: it is not the worker
                os._exit(0)
            if careful or now - flushed > FLUSH_S or verdict.error == "MemoryError":
                self.send(number, first, verdicts)
                first, flushed, verdicts = index + 1, now, []
            if verdict.error == "MemoryError":  # what filled the memory may still hold it
                _write(self.channel, encode_notice(LEAVING))
                _end()
        if verdicts:
            self.send(number, first, verdicts)

    def verdict(self, problem: Problem, sample: Sample) -> Verdict:
        try:
            return normalise(self.verifier(problem, sample), self.threshold)
        except BaseException as error:  # the process wall: SystemExit and KeyboardInterrupt of a verifier, too
            try:
                return erring(clean(type(error).__name__, 100), describe(error))
            except MemoryError:
                return erring("MemoryError")

    def timed(self, verdict: Verdict, seconds: float) -> Verdict:
        if seconds > self.timeout_s:  # late, and the parent was busy: the deadline does not depend on who looked
            return erring("timeout", f"took {seconds:.1f} s, timeout_s is {self.timeout_s:g}", seconds=seconds)
        return Verdict(
            verdict.outcome, verdict.score, verdict.answer, verdict.reason, verdict.error, verdict.steps, seconds
        )

    def send(self, number: int, first: int, verdicts: list[Verdict]) -> None:
        self.progress.rest()
        _write(self.channel, encode_verdicts(number, first, verdicts))


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
