"""Sampling and verification overlapped: the event loop behind ``round.attempt``, ``ask`` and ``evaluate``.

Contract: every problem of a `Work` is asked ``n`` times and judged once; finished parts are published as they
complete, samples before their verdicts, each once. What is already published is never drawn or judged again. An
engine that dies is replaced, and only its unfinished requests are sent again, with the same seeds. A request to stop
finishes the parts already begun. At most `BACKLOG` samples wait for a verdict, so that memory stays flat when
verification is slower than sampling.

See it work: ``pytest tests/test_pipeline.py``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from selfimprove.cluster import Future
from selfimprove.control import Stop
from selfimprove.errors import EngineDead
from selfimprove.report.progress import Progress
from selfimprove.store.begun import Begun
from selfimprove.store.failpoints import failpoint
from selfimprove.store.groups import read_samples
from selfimprove.store.steps import Step
from selfimprove.types import Sample, SampleRequest, erring
from selfimprove.verify import ErrorBudget
from selfimprove.work import Part, Work, commit, only, publish_samples, publish_verdicts
from selfimprove.workers import Workers

CHUNK = 64
BACKLOG = 8192
QUEUED_PUMPS = 2
POOL = -1
STALL_S = 900.0
FEW_ERRORS = 3
KEEP_S = 1.0


class Pipeline:
    """Runs one `Work` to its end. ``verdicts`` is None for work that nobody judges.

    ``grouped``: the verifier judges all samples of a problem at once. ``asked(part, sample)`` says whether it is asked
    of a sample at all (default: of every one).
    """

    def __init__(
        self,
        work: Work,
        samples: Step,
        verdicts: Step | None,
        workers: Workers,
        pool: Any,
        budget: ErrorBudget,
        progress: Progress,
        stop: Stop,
        *,
        grouped: bool = False,
        asked: Callable[[int, Sample], bool] | None = None,
    ) -> None:
        self.grouped, self.asked = grouped, asked
        self.work, self.samples, self.verdicts = work, samples, verdicts
        self.workers, self.pool, self.budget, self.progress, self.stop = workers, pool, budget, progress, stop
        self.seconds = {"sample": 0.0, "verify": 0.0, "commit": 0.0}
        self._by_id = {problem.id: (position, problem) for position, problem in enumerate(work.problems)}
        self._parts: dict[int, Part] = {}
        self._todo: Iterator[tuple[Part, SampleRequest]] = iter(())
        self._again: deque[SampleRequest] = deque()
        self._next: tuple[Part, SampleRequest] | None = None
        self._futures: dict[Future, tuple[int, Callable[[Future], None]]] = {}
        self._flying: list[dict[str, SampleRequest]] = []
        self._pumps: list[int] = []
        self._unjudged: deque[Sequence[Sample]] = deque()
        self._waiting = 0  # samples in it
        self._chunks: dict[int, list[Sample]] = {}
        self._chunk_number = 0
        self._exchanging = self._cut_short = False
        self._moved = self._kept_at = time.monotonic()
        self._begun = Begun(samples, work.keep_every) if work.keep_every else None
        self._keeping: set[int] = set()
        self._reached = 0

    def run(self) -> None:
        """Draw and judge whatever is not published yet, then publish the whole. May raise Stopped or TooManyErrors."""
        missing = self._resume()
        if missing:
            self._open_engines()
            self._todo = self._requests(missing)
            self._advance()
        began = last_sample = time.monotonic()
        while self._parts:
            sampling = self._sampling()
            self._feed()
            self._exchange()
            self._collect()
            if sampling:
                last_sample = time.monotonic()
            if self.stop.requested and self._idle():
                self.stop.raise_stopped()
        if self._cut_short:
            self.stop.request(f"after {self.stop.parts} parts, as asked")
            self.stop.raise_stopped()
        self.budget.settle()
        self.seconds["sample"] += last_sample - began
        self.seconds["verify"] += time.monotonic() - last_sample
        self._commit()

    # -- beginning ---------------------------------------------------------------------------------------------

    def _resume(self) -> deque[Part]:
        """Parts still to be drawn; parts drawn but not judged go straight to verification."""
        missing: deque[Part] = deque()
        for number in range(self.work.parts()):
            start = number * self.work.part_problems
            stop = min(start + self.work.part_problems, len(self.work.problems))
            part = Part(number, start, stop, (stop - start) * self.work.n)
            self._forget_errors(number)
            if number not in self.samples.parts:
                missing.append(part)
            elif self.verdicts is not None and number not in self.verdicts.parts:
                part.published = True
                self._parts[number] = part
                self._receive(read_samples(self.samples, self.samples.parts[number]))
            else:
                self.progress.done(part.expected)
        wanted = deque(part for part in missing if self.stop.parts is None or part.number < self.stop.parts)
        self._cut_short = len(wanted) < len(missing)
        return wanted

    def _forget_errors(self, number: int) -> None:
        """Until all is judged a part with errors is judged again: an error is no verdict, and its cause may be gone."""
        if self.verdicts is None or self.verdicts.marker is not None or number not in self.verdicts.parts:
            return
        if self.verdicts.parts[number].counts["errors"]:
            self.verdicts.withdraw(number)

    def _open_engines(self) -> None:
        self.seconds["load"] = self.workers.load(self.work.policy, self.work.engine)
        failpoint("policy.loaded")
        self._flying = [{} for _ in self.workers.samplers]
        self._pumps = [0] * len(self.workers.samplers)

    def _requests(self, missing: deque[Part]) -> Iterator[tuple[Part, SampleRequest]]:
        while missing:
            part = missing.popleft()  # not kept here: a part that is published must be forgotten, with its samples
            for position in range(part.start, part.stop):
                request = self.work.request(position)
                yield part, request if self._begun is None else self._begun.of(request)

    def _advance(self) -> None:
        self._next = next(self._todo, None)
        if self._next is not None:
            self._parts.setdefault(self._next[0].number, self._next[0])

    # -- feeding -----------------------------------------------------------------------------------------------

    def _sampling(self) -> bool:
        return bool(self._again or self._next or any(self._flying))

    def _idle(self) -> bool:
        """Nothing begun is left: what was asked for before the stop is published."""
        return not self._may_feed() and not any(self._flying) and not self._unjudged and not self._chunks

    def _may_feed(self) -> bool:
        """After a request to stop only parts already begun are finished."""
        if self._again:
            return True
        if self._next is None:
            return False
        part, request = self._next
        begun = request.problem_id != self.work.problems[part.start].id
        return begun or not self.stop.requested

    def _feed(self) -> None:
        """Keep every engine supplied: one call running and one queued behind it."""
        waiting = self._waiting + sum(map(len, self._chunks.values()))
        for engine, actor in enumerate(self.workers.samplers if self._flying else ()):
            while self._pumps[engine] < QUEUED_PUMPS:
                requests = self._take(engine) if waiting < BACKLOG else []
                if not requests and not self._flying[engine]:
                    break
                self._pumps[engine] += 1
                future = actor.submit("pump", requests, self.work.params)
                self._futures[future] = (engine, partial(self._pumped, engine))

    def _take(self, engine: int) -> list[SampleRequest]:
        flying, requests = self._flying[engine], []
        while len(flying) < self.workers.window and self._may_feed():
            if self._again:
                request = self._again.popleft()
            else:
                assert self._next is not None
                request = self._next[1]
                self._advance()
            requests.append(request)
            flying.update({f"{request.key}/{index}": request for index in request.indexes})
        return requests

    # -- collecting --------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        if not self._futures:
            return
        for future in self.workers.backend.wait(list(self._futures), 1.0):
            _, answer = self._futures.pop(future, (POOL, None))
            if answer is not None:  # None: asked of an engine that has just been replaced
                answer(future)
        if time.monotonic() - self._moved > STALL_S and any(self._flying):
            for engine, flying in enumerate(self._flying):
                if flying:
                    self._revive(engine, EngineDead(f"no sample finished for {STALL_S:.0f} s"))

    def _pumped(self, engine: int, future: Future) -> None:
        self._pumps[engine] -= 1
        try:
            samples, _ = future.result()
        except EngineDead as error:
            self._revive(engine, error)
            return
        self._keep(engine)
        flying = self._flying[engine]
        fresh = [sample for sample in samples if flying.pop(sample.id, None) is not None]
        if fresh:
            failpoint("samples.received")
            self._moved = time.monotonic()
            self._receive(fresh)

    def _keep(self, engine: int) -> None:
        """Ask an engine now and then how far the samples are that it is drawing."""
        if self._begun is None or engine in self._keeping or time.monotonic() - self._kept_at < KEEP_S:
            return
        self._keeping.add(engine)
        future = self.workers.samplers[engine].submit("partials", self.work.keep_every)
        self._futures[future] = (engine, partial(self._kept, engine))

    def _kept(self, engine: int, future: Future) -> None:
        self._keeping.discard(engine)
        assert self._begun is not None
        try:
            found = future.result()
        except EngineDead:
            return  # the call that draws says so too
        self._kept_at = time.monotonic()
        flying = {name: ids for name, ids in found.items() if name in self._flying[engine]}
        if sum(map(len, flying.values())) != self._reached:  # nothing has finished for long, and yet it moves
            self._moved, self._reached = time.monotonic(), sum(map(len, flying.values()))
        self._begun.take(flying)

    def _revive(self, engine: int, error: EngineDead) -> None:
        """Replace a dead engine and ask again for exactly what it had not delivered."""
        self._futures = {future: asked for future, asked in self._futures.items() if asked[0] != engine}
        self._pumps[engine] = 0
        self.progress.note(f"engine {engine}: {error}; restarting it")
        self.workers.restart(engine, error)
        again = [only(request, name) for name, request in self._flying[engine].items()]
        self._again.extend(again if self._begun is None else map(self._begun.of, again))
        self._keeping.discard(engine)
        self._flying[engine] = {}
        self._moved = time.monotonic()

    def _receive(self, samples: Sequence[Sample]) -> None:
        touched = set()
        if self._begun is not None:
            self._begun.drop(sample.id for sample in samples)
        for sample in samples:
            number = self._by_id[sample.problem_id][0] // self.work.part_problems
            part = self._parts[number]
            part.samples[sample.id] = sample
            touched.add(number)
            if self.verdicts is None:
                continue
            self._ask(part, sample)
        self.progress.done(len(samples), sum(len(sample.token_ids) for sample in samples))
        for number in touched:
            self._settle(self._parts[number])

    # -- judging -----------------------------------------------------------------------------------------------

    def _ask(self, part: Part, sample: Sample) -> None:
        """Queue a sample for the verifier; one that judges groups waits for all samples of the problem."""
        waits = False
        if self.asked is not None and not self.asked(part.number, sample):
            part.unasked += 1
        elif sample.finish == "abort":
            part.verdicts[sample.id] = erring("abort", "the prompt does not fit into the model's context")
        elif not self.grouped:
            self._queue([sample])
        else:
            waits = True
        if self.grouped:
            arrived = part.groups.setdefault(sample.problem_id, [])
            arrived.append(sample)
            part.waiting.update({sample.id: sample} if waits else {})
            if len(arrived) == self.work.n:
                group = [part.waiting.pop(s.id) for s in sorted(arrived, key=_index) if s.id in part.waiting]
                del part.groups[sample.problem_id]
                if group:
                    self._queue(group)

    def _queue(self, unit: Sequence[Sample]) -> None:
        self._unjudged.append(unit)
        self._waiting += len(unit)

    def _exchange(self) -> None:
        """Hand over full chunks (or whatever there is once sampling pauses) and fetch verdicts."""
        if self._exchanging or not (self._unjudged or self._chunks):
            return
        chunks = []
        while self._waiting >= CHUNK or (self._unjudged and not self._chunks):
            samples: list[Sample] = []
            while self._unjudged and len(samples) < CHUNK:
                samples += self._unjudged.popleft()
            self._waiting -= len(samples)
            self._chunk_number += 1
            self._chunks[self._chunk_number] = samples
            chunks.append((self._chunk_number, [(self._by_id[s.problem_id][1], s) for s in samples]))
        self._exchanging = True
        future = self.pool.submit("exchange", chunks, 0.0 if any(self._flying) else 0.02)
        self._futures[future] = (POOL, self._judged)

    def _judged(self, future: Future) -> None:
        self._exchanging = False
        for number, verdicts in future.result():
            failpoint("verdicts.received")
            self._moved = time.monotonic()
            self.budget.add(verdicts)
            touched = set()
            for sample, verdict in zip(self._chunks.pop(number), verdicts, strict=True):
                part = self._parts[self._by_id[sample.problem_id][0] // self.work.part_problems]
                part.verdicts[sample.id] = verdict
                touched.add(part.number)
            for touched_number in touched:
                self._settle(self._parts[touched_number])

    # -- publishing --------------------------------------------------------------------------------------------

    def _settle(self, part: Part) -> None:
        """Publish what is complete of a part; forget a part that is published whole."""
        began = time.monotonic()
        if len(part.samples) == part.expected and not part.published:
            self._publish_samples(part)
            part.published = True
        if part.published and (self.verdicts is None or part.judged):
            if self.verdicts is not None:
                self._publish_verdicts(part)
            del self._parts[part.number]
        self.seconds["commit"] += time.monotonic() - began

    def _sorted(self, part: Part) -> list[Sample]:
        return sorted(part.samples.values(), key=lambda s: (self._by_id[s.problem_id][0], s.index))

    def _publish_samples(self, part: Part) -> None:
        publish_samples(self.samples, part.number, part.stop - part.start, self._sorted(part))

    def _publish_verdicts(self, part: Part) -> None:
        assert self.verdicts is not None
        rows = [row for row in self._sorted(part) if row.id in part.verdicts]
        verdicts = [part.verdicts[row.id] for row in rows]
        if sum(verdict.outcome == "error" for verdict in verdicts) >= FEW_ERRORS:
            # A part that could not be judged is not published: once the cause is mended it is judged again.
            ErrorBudget(self.budget.max_share, min_judged=1).add(verdicts)
        publish_verdicts(self.verdicts, part.number, part.stop - part.start, rows, verdicts)

    def _commit(self) -> None:
        for step in (self.samples, self.verdicts):
            if step is not None and step.marker is None:
                commit(step, self.seconds)
        if self._begun is not None:
            self._begun.clear()


_index = attrgetter("index")
