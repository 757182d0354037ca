"""The pool of verifier processes: chunks of samples in, chunks of verdicts out.

Contract: no verifier runs in the caller. Whatever a verifier does (hang, crash, exit, print, fork, fill the memory), it
costs one error verdict for the sample it did it to; every other sample of the chunk keeps its right verdict. Each
sample has a wall deadline, enforced by SIGKILL to the worker's process group. The pool is driven by its caller
(`VerifierPool.submit`, `VerifierPool.poll`): it has no thread. Use it from one thread that lives as long as the pool:
on Linux the workers die with the thread that started them.

See it work: ``pytest tests/verify/test_pool.py``.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, Self

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.types import Problem, Sample, Verdict, erring
from selfimprove.verify.child import Child, Job
from selfimprove.verify.concurrent import AT_ONCE
from selfimprove.verify.forms import Form, form_of
from selfimprove.verify.verdicts import TRUNCATED, retryable
from selfimprove.verify.wire import LEAVING, Unit, encode_job

Item = tuple[Problem, Sample]

START_S = 120.0
"""How long loading a verifier may take: a judge of the user's may import torch."""

_TARGET_S = 0.25  # of work per job: short enough to share a chunk out among idle workers, long enough to be cheap
_JOBS_AHEAD = 2  # per worker, so that it never waits for the parent between two jobs
_BLAMELESS_DEATHS = 3  # then the first sample that is left is blamed, or the chunk would go round for ever


@dataclass(slots=True)
class _Chunk:
    """``units`` are what is judged in one call each: places of ``items``."""

    items: Sequence[Item]
    units: list[list[int]]
    verdicts: list[Verdict | None]
    missing: int
    tries: dict[int, int] = field(default_factory=dict)


class VerifierPool:
    """Judges chunks with the verifier that ``config`` names.

    ``config``: ``name`` (a spec; file paths absolute), ``args``, ``timeout_s`` per sample (default 10), ``retries`` of
    an errored sample (1), ``threshold`` for numbers, ``memory_mb`` of address space per worker (what the verifier's
    file says it needs, else 2048), ``workers`` (what its file says, else one less than the cores). The parameter
    ``workers`` overrides the config's; ``log`` is a file that takes what verifiers print (its first MiB), None drops
    it.

    A group verifier judges neighbouring samples of one problem in one call: ``timeout_s`` is for all of them, and they
    are retried together.
    """

    def __init__(self, config: Mapping[str, Any], *, workers: int | None = None, log: str | None = None) -> None:
        self._workers = workers or config.get("workers")
        self._spec, self._log = str(config["name"]), log
        self._timeout_s, self._retries = float(config.get("timeout_s", 10.0)), int(config.get("retries", 1))
        self._setup = {
            "spec": self._spec,
            "args": dict(config.get("args") or {}),
            "threshold": config.get("threshold"),
            "timeout_s": self._timeout_s,
            "memory_mb": config.get("memory_mb"),
        }
        self._children: list[Child] = []
        self._chunks: dict[int, _Chunk] = {}
        self._queue: deque[Job] = deque()
        self._finished: deque[int] = deque()
        self._selector = selectors.DefaultSelector()
        self._job_number, self._failed_starts, self._loaded, self._closed = 0, 0, False, False
        self._source: str | None = None
        self._facts: dict[str, str] = {}
        self._unit_s = _TARGET_S / 8  # a guess until jobs have come back

    @cached_property
    def _form(self) -> Form:
        """Read when the verifier is first needed, so that a missing one is found where errors are reported."""
        return form_of(self._spec)

    @cached_property
    def workers(self) -> int:
        """How many processes judge at most."""
        return self._workers or self._form.workers or max(1, _cores() - 1)

    @property
    def _patience_s(self) -> float:
        return START_S + (3 * self._timeout_s if self._form.concurrent else 0.0)

    @property
    def pending(self) -> int:
        """Chunks submitted and not yet returned by `poll`."""
        return len(self._chunks)

    def submit(self, chunk_id: int, items: Sequence[Item]) -> None:
        """Hand over a chunk (64 samples or so). Samples the policy did not end are failed without being judged."""
        assert not self._closed and chunk_id not in self._chunks, f"chunk {chunk_id} is in the pool, or it is closed"
        verdicts = [TRUNCATED if sample.truncated else None for _, sample in items]
        items = [(problem, sample.spoken) for problem, sample in items]
        units = self._units(items, [place for place, verdict in enumerate(verdicts) if verdict is None])
        self._chunks[chunk_id] = _Chunk(items, units, verdicts, len(units))
        if units:
            self._enqueue(chunk_id, list(range(len(units))))
            self._dispatch()
        else:
            self._finished.append(chunk_id)

    def _units(self, items: Sequence[Item], todo: list[int]) -> list[list[int]]:
        if self._form.kind != "group":
            return [[place] for place in todo]
        return [list(places) for _, places in groupby(todo, key=lambda place: items[place][0].id)]

    def poll(self, timeout_s: float) -> list[tuple[int, list[Verdict]]]:
        """Finished chunks in any order, verdicts in the order of the items; waits ``timeout_s`` at most for the first.

        Deadlines are enforced in here: call it often. Raises ConfigError if the verifier cannot be loaded.
        """
        until = time.monotonic() + timeout_s
        while True:
            self._step(0.0 if self._finished else until - time.monotonic())
            if self._finished or not self._chunks or time.monotonic() >= until:
                break
        return [self._take(self._finished.popleft()) for _ in range(len(self._finished))]

    def check(self) -> dict[str, str]:
        """Load the verifier in a worker and judge nothing; what its ``facts()`` say of where it judges, if it has any.

        Raises ConfigError if it cannot be loaded, PreconditionError if this machine lacks what it needs.
        """
        while not any(child.ready for child in self._children):
            if not self._children:
                self._start()
            self._step(START_S)
        return self._facts

    def close(self) -> None:
        """Kill all workers and what they started. Chunks that were not finished are dropped."""
        self._closed = True
        for child in self._children[:]:
            self._remove(child)
            child.free()
        self._chunks.clear()
        self._queue.clear()
        self._finished.clear()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _step(self, wait_s: float) -> None:
        """Send work, wait for an answer or the next deadline, take answers, kill what is late, send work again."""
        self._dispatch()
        now = time.monotonic()
        deadlines = [child.deadline(self._timeout_s, self._patience_s) for child in self._children]
        wait_s = max(0.0, min([wait_s, *(deadline - now for deadline in deadlines)]))
        for key, events in self._selector.select(wait_s):
            if events & selectors.EVENT_WRITE:
                key.data.flush()
                self._watch(key.data)  # or its readiness to take more would wake every wait from now on
            if events & selectors.EVENT_READ:
                self._hear(key.data)
        for child in self._children[:]:
            since = child.progress.since
            if child.deadline(self._timeout_s, self._patience_s) <= time.monotonic():
                self._late(child, since)
        self._dispatch()

    def _hear(self, child: Child) -> None:
        try:
            ended = child.receive()
            for message in child.messages():
                self._answer(child, message)
        except ConfigError:
            raise
        except ValueError:
            self._bury(child, "the verifier wrote to its worker's channel; the process", garbled=True)
            return
        if ended:
            self._bury(child, "the verifier's process")

    def _answer(self, child: Child, message: Any) -> None:
        if isinstance(message, dict):
            if "broken" in message:
                missing = message.get("code") == PreconditionError.code
                raise (PreconditionError if missing else ConfigError)(message["broken"])
            child.leaving = message == LEAVING
            self._facts = message.get("ready", self._facts)
            child.ready = self._loaded = True
            self._failed_starts = 0
            return
        number, first, judged = message
        job = child.jobs[0] if child.jobs else None
        if job is None or (number, first) != (job.number, job.done) or len(judged) > len(job.indexes) - job.done:
            raise ValueError("an answer to something else")
        asked = job.indexes[job.done : job.done + len(judged)]
        units = self._chunks[job.chunk].units
        if any(len(verdicts) != len(units[index]) for index, verdicts in zip(asked, judged, strict=True)):
            raise ValueError("an answer to something else")
        job.done += len(judged)
        if job.done == len(job.indexes):
            child.jobs.popleft()
        self._settle(job.chunk, list(zip(asked, judged, strict=True)))
        if judged:
            mean_s = sum(verdicts[0].seconds for verdicts in judged) / len(judged)
            self._unit_s += 0.2 * (mean_s - self._unit_s)

    def _settle(self, chunk_id: int, judged: list[tuple[int, list[Verdict]]]) -> None:
        """Enter verdicts into their chunk; an error that another try may cure goes back to the queue.

        Timeouts and crashes are tried again like exceptions: on a loaded machine they are the most transient of all.
        """
        chunk = self._chunks[chunk_id]
        again = []
        for index, verdicts in judged:
            tries = chunk.tries.get(index, 0)
            if tries < self._retries and any(map(retryable, verdicts)):
                chunk.tries[index] = tries + 1
                again.append(index)
                continue
            for place, verdict in zip(chunk.units[index], verdicts, strict=True):
                chunk.verdicts[place] = verdict
            chunk.missing -= 1
        if again:
            self._enqueue(chunk_id, again)
        if not chunk.missing:
            self._finished.append(chunk_id)

    def _late(self, child: Child, since: float) -> None:
        if not child.ready:
            raise ConfigError(f"verifier {self._spec!r} did not load within {START_S:g} s")
        if not since:
            self._bury(child, "the verifier's process stopped answering and")
            return
        self._remove(child)
        if child.progress.since == since:
            self._rescue(child, erring("timeout", f"no verdict after {self._timeout_s:g} s", seconds=self._timeout_s))
        else:  # it went on to the next sample between the look and the kill: nobody's fault
            self._rescue(child, None)

    def _bury(self, child: Child, what: str, garbled: bool = False) -> None:
        how = self._remove(child, grace_s=0.05)  # its channel may end a moment before it does
        if child.ready:
            self._rescue(child, None if child.leaving else erring("crash", f"{what} {how}"[:500]), garbled)
            return
        self._failed_starts += 1
        if not self._loaded or self._failed_starts >= _BLAMELESS_DEATHS:
            raise ConfigError(f"verifier {self._spec!r} cannot be loaded: its process {how}")

    def _rescue(self, child: Child, verdict: Verdict | None, garbled: bool = False) -> None:
        """Give ``verdict`` to the sample at which a dead worker was, and queue all others it held.

        Where it was may be unknown (it died between two samples, or hurt itself earlier): then the rest is judged
        carefully, each verdict sent before the next sample, so that the next death tells. None blames nobody.
        A ``garbled`` channel tells by what came before the garbage, whatever the worker did since.
        """
        number, index = child.progress.position
        judging = child.progress.since > 0
        child.free()
        if not child.jobs:
            return
        job = next((job for job in child.jobs if job.number == number), child.jobs[0])
        if garbled:
            job, judging = child.jobs[0], False
            number, index = job.number, job.done
        for other in reversed(child.jobs):
            if other is not job:
                self._enqueue(other.chunk, other.indexes[other.done :], other.careful, other.deaths, first=True)
        located = job.number == number and index >= job.done and (judging or job.careful)
        deaths = (0 if job.done else job.deaths) + (verdict is not None)
        guilty = index if located else job.done if deaths >= _BLAMELESS_DEATHS else None
        if verdict is None:
            guilty = None
        rest = [at for place, at in enumerate(job.indexes) if place >= job.done and place != guilty]
        if rest:
            lost = verdict is not None and guilty is None
            self._enqueue(job.chunk, rest, job.careful or lost, deaths if lost else 0, first=True)
        if verdict is not None and guilty is not None:
            unit = job.indexes[guilty]
            self._settle(job.chunk, [(unit, [verdict] * len(self._chunks[job.chunk].units[unit]))])

    def _enqueue(
        self, chunk: int, indexes: list[int], careful: bool = False, deaths: int = 0, first: bool = False
    ) -> None:
        self._job_number += 1
        job = Job(self._job_number, chunk, indexes, careful, deaths)
        (self._queue.appendleft if first else self._queue.append)(job)

    def _dispatch(self) -> None:
        while self._queue:
            starting = sum(not child.ready for child in self._children)
            free = [child for child in self._children if child.ready and len(child.jobs) < _JOBS_AHEAD]
            child = min(free, key=lambda child: len(child.jobs), default=None)
            if (child is None or child.jobs) and len(self._children) < self.workers and starting < len(self._queue):
                self._start()
            elif child is None or (child.jobs and starting):
                return
            else:
                self._send(child, self._piece())

    def _piece(self) -> Job:
        """The first job of the queue, or as much of it as a worker judges in `_TARGET_S`."""
        job = self._queue.popleft()
        size = max(1, int(_TARGET_S / max(self._unit_s, 1e-6)))
        if self._form.concurrent and not job.careful:
            size = 2 * AT_ONCE  # they wait at the same time
        if len(job.indexes) > size:
            self._enqueue(job.chunk, job.indexes[size:], job.careful, first=True)
            job.indexes = job.indexes[:size]
        return job

    def _send(self, child: Child, job: Job) -> None:
        data = encode_job(job.number, job.careful, [self._unit(job.chunk, index) for index in job.indexes])
        if not child.jobs:
            child.heard = time.monotonic()
        child.jobs.append(job)
        child.send(data)
        self._watch(child)

    def _unit(self, chunk_id: int, index: int) -> Unit:
        chunk = self._chunks[chunk_id]
        places = chunk.units[index]
        return chunk.items[places[0]][0], [chunk.items[place][1] for place in places]

    def _start(self) -> None:
        from selfimprove import plugins

        source = plugins.source_digest("verifier", self._spec)
        if self._source not in (None, source):
            what = f"the file of verifier {self._spec!r} changed while it was in use"
            raise ConfigError(what, hint="the same command starts again with the new file, and says what it affects")
        self._source = source
        child = Child({**self._setup, "memory_mb": self._setup["memory_mb"] or self._form.memory_mb}, self._log)
        self._children.append(child)
        self._selector.register(child, selectors.EVENT_READ, child)
        self._watch(child)

    def _watch(self, child: Child) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.unsent else 0)
        if self._selector.get_key(child).events != events:
            self._selector.modify(child, events, child)

    def _remove(self, child: Child, grace_s: float = 0.0) -> str:
        self._selector.unregister(child)
        self._children.remove(child)
        return child.stop(grace_s)

    def _take(self, chunk_id: int) -> tuple[int, list[Verdict]]:
        return chunk_id, [verdict for verdict in self._chunks.pop(chunk_id).verdicts if verdict is not None]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
