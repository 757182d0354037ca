"""Trials through the pool of a verifier, and what they left for the next check.

Contract: every verdict comes out of a `VerifierPool` with the limits of a run and without its retries: an error that a
run would cure by asking again is seen here. Each repetition runs in the other order, so that a verdict which depends on
what was judged before differs. Trials that may leave traces run alone, one after another, in a pool of one worker.

See it work: ``pytest tests/audit/test_runner.py``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfimprove.audit.leaks import Watch
from selfimprove.audit.targets import Target
from selfimprove.audit.trials import GRACE_S, Judged, Trial
from selfimprove.errors import ConfigError
from selfimprove.types import Verdict
from selfimprove.verify.pool import VerifierPool

CHUNK = 64
_SAY_S = 5.0
_NO_PROBE = "no other case of this kind was judged right: nothing to probe the next check with"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """How an audit runs: ``repeat`` times everything, ``timeout_s`` for a verdict (a trial's own limit may need more).

    ``workers`` None means one per core.
    """

    repeat: int = 2
    workers: int | None = None
    timeout_s: float = 10.0
    memory_mb: int | None = None


def judge(target: Target, trials: Sequence[Trial], setting: Setting, watch: Watch, say: Say) -> list[Judged]:
    """The trials with their verdicts, in their order.

    Raises ConfigError if the verifier cannot be loaded, or a path that a trial must not write is there already and is
    not ours to remove.
    """
    solitary = [trial for trial in trials if trial.persist or trial.side_effect]
    shared = [trial for trial in trials if not (trial.persist or trial.side_effect)]
    shared.sort(key=lambda trial: trial.slow)  # the quick ones do not wait behind them
    judged = _together(target, shared, setting, watch, say) if shared else []
    if solitary:
        judged += _alone(target, solitary, judged, setting, say)
    found = {one.trial.id: one for one in judged}
    return [found[trial.id] for trial in trials]


def _together(target: Target, trials: list[Trial], setting: Setting, watch: Watch, say: Say) -> list[Judged]:
    said: dict[int, list[Verdict]] = {place: [] for place in range(len(trials))}
    workers = setting.workers or max(2, os.cpu_count() or 1)
    with VerifierPool(_config(target, trials, setting), workers=workers) as pool:
        for turn in range(setting.repeat):
            order = sorted(range(len(trials)), reverse=bool(turn % 2))
            what = target.spec.rpartition("/")[2] + (f", again ({turn + 1} of {setting.repeat})" if turn else "")
            _sweep(pool, trials, order, workers, lambda place, verdict: said[place].append(verdict), say, what)
            watch.sample()
    return [Judged(trial, tuple(said[place])) for place, trial in enumerate(trials)]


def _sweep(
    pool: VerifierPool,
    trials: Sequence[Trial],
    order: Sequence[int],
    workers: int,
    take: Callable[[int, Verdict], None],
    say: Say,
    what: str,
) -> None:
    """Judge ``trials`` in ``order``, a few chunks ahead of the workers; slow trials are chunks of their own."""
    chunks = _chunks(trials, order)
    sent = done = 0
    spoke = time.monotonic()
    while sent < len(chunks) or pool.pending:
        while sent < len(chunks) and (pool.pending < 4 * workers or _is_slow(trials, chunks[sent])):
            pool.submit(sent, [(trials[place].problem, trials[place].sample) for place in chunks[sent]])
            sent += 1
        for number, verdicts in pool.poll(0.5):
            done += len(verdicts)
            for place, verdict in zip(chunks[number], verdicts, strict=True):
                take(place, verdict)
        if time.monotonic() - spoke > _SAY_S:
            spoke = time.monotonic()
            say(f"{what}: {done:,} of {len(order):,} judged")


def _chunks(trials: Sequence[Trial], order: Sequence[int]) -> list[list[int]]:
    chunks: list[list[int]] = []
    for place in order:
        full = not chunks or len(chunks[-1]) == CHUNK or trials[chunks[-1][-1]].slow
        if full or trials[place].slow:
            chunks.append([place])
        else:
            chunks[-1].append(place)
    return chunks


def _is_slow(trials: Sequence[Trial], chunk: Sequence[int]) -> bool:
    return any(trials[place].slow for place in chunk)


def _alone(target: Target, trials: list[Trial], judged: list[Judged], setting: Setting, say: Say) -> list[Judged]:
    """One at a time: after each, what it wrote is looked for, and right and wrong answers must still be told apart."""
    say(f"{target.spec.rpartition('/')[2]}: {len(trials)} one by one, looking for traces")
    probes = [probe for probe in (_probe(judged, True), _probe(judged, False)) if probe is not None]
    found: dict[str, Judged] = {}
    with VerifierPool(_config(target, [*trials, *probes], setting), workers=1) as pool:
        for turn in range(setting.repeat):
            for trial in trials if turn % 2 == 0 else reversed(trials):
                _remove(trial)
                verdict = _one(pool, trial)
                trace = _trace(pool, probes) if trial.persist else ""
                before = found.get(trial.id, Judged(trial, ()))
                written = before.written or _written(trial)
                found[trial.id] = Judged(trial, (*before.verdicts, verdict), before.trace or trace, written)
    time.sleep(0.1)  # what it started may write when the workers are gone
    return [replace(one, written=one.written or _written(one.trial)) for one in found.values()]


def _probe(judged: Sequence[Judged], accept: bool) -> Trial | None:
    """The quickest trial with the answer ``accept`` that was judged right every time."""
    fit = [
        one for one in judged if one.trial.must_accept == accept and not (one.wrong or one.errored or one.trial.slow)
    ]
    best = min(fit, key=lambda one: max(verdict.seconds for verdict in one.verdicts), default=None)
    return best.trial if best is not None else None


def _trace(pool: VerifierPool, probes: Sequence[Trial]) -> str:
    if not any(probe.must_accept for probe in probes):
        return _NO_PROBE
    for probe in probes:
        verdict = _one(pool, probe)
        if verdict.outcome != ("pass" if probe.must_accept else "fail"):
            return f"afterwards {probe.id} was judged {verdict.outcome}: {verdict.error or ''} {verdict.reason}".strip()
    return ""


def _one(pool: VerifierPool, trial: Trial) -> Verdict:
    pool.submit(0, [(trial.problem, trial.sample)])
    while True:
        for _, verdicts in pool.poll(1.0):
            return verdicts[0]


def _config(target: Target, trials: Sequence[Trial], setting: Setting) -> dict[str, object]:
    limits = [trial.time_limit_s + 2 * GRACE_S for trial in trials if trial.time_limit_s is not None]
    return {
        "name": target.spec,
        "args": dict(target.args),
        "threshold": target.threshold,
        "timeout_s": max([setting.timeout_s, *limits]),
        "memory_mb": setting.memory_mb,
        "retries": 0,
    }


def _written(trial: Trial) -> bool:
    return trial.side_effect is not None and os.path.lexists(trial.side_effect)


def _remove(trial: Trial) -> None:
    """Make way for the proof: only a file in the temporary folder is removed, because a case may name any path."""
    path = trial.side_effect
    if path is None or not os.path.lexists(path):
        return
    inside = Path(os.path.realpath(os.path.dirname(path))).is_relative_to(os.path.realpath(tempfile.gettempdir()))
    if not inside or (os.path.isdir(path) and not os.path.islink(path)):
        hint = "remove it yourself if it is left from an earlier audit"
        raise ConfigError(f"case {trial.id!r} must not create {path}, which exists already", hint=hint)
    os.unlink(path)
