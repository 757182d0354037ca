"""Before the first round: does the verifier accept what it must accept?

Contract: each verifier that judges single samples is asked of the gold answers of up to 32 training problems and of
completions that are wrong for any problem. A run whose verifier refuses its own gold answers does not start, unless
``verifier.audit`` says ``warn`` or ``off``; what came of it is recorded in the run, once. Verifiers of groups, and
those that ask a model, cannot be asked without samples or a model.

See it work: ``pytest tests/test_beginning.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from selfimprove.audit import QuickAudit, quick_audit
from selfimprove.config import JudgeConfig
from selfimprove.context import Context
from selfimprove.errors import ConfigError
from selfimprove.store.digest import digest
from selfimprove.store.steps import open_step
from selfimprove.types import Problem, Sample, Verdict
from selfimprove.verify import verifier_digest
from selfimprove.verify.forms import form_of

LIMIT = 32


def audited(context: Context) -> None:
    """Audit the run's verifiers, once for each. Raises ConfigError (exit code 2) for one that refuses gold answers."""
    config = context.config.verifier
    for judge in config.judges:
        if config.audit == "off" or form_of(judge.name).kind != "sample":
            continue
        verifier = verifier_digest(judge.model_dump())
        problems = context.splits.train
        inputs = {"verifier": verifier, "problems": digest(sorted(problem.id for problem in problems))}
        step = open_step(context.files, f"setup/audit-{digest(inputs)[:8]}", inputs, context.lease)
        if step.marker is None:
            found = quick_audit(problems, partial(_judged, context, judge), LIMIT)
            why = found.refused()
            if why and config.audit == "refuse":
                hint = "verifier.audit=warn starts all the same, and records it"
                raise ConfigError(f"verifier {judge.name!r}: {why}", hint=hint)
            for doubt in filter(None, (why, found.doubts())):
                context.progress.note(f"verifier {judge.name!r}: {doubt}")
            step.publish(digest=verifier, data=_record(found, config.audit))


def _record(found: QuickAudit, audit: str) -> dict[str, Any]:
    return {**asdict(found), "audit": audit}


def _judged(context: Context, judge: JudgeConfig, pairs: Sequence[tuple[Problem, Sample]]) -> list[Verdict]:
    """Through the run's own pool, as samples will be."""
    pool = context.workers.pool(judge)
    chunks = [(place, list(pairs[place : place + 64])) for place in range(0, len(pairs), 64)]
    found: dict[int, list[Verdict]] = {}
    sent: list[Any] = [(number + 1, items) for number, items in chunks]
    while len(found) < len(chunks):
        for number, verdicts in pool.call("exchange", sent, 1.0):
            found[number - 1] = verdicts
        sent = []
    return [verdict for place, _ in chunks for verdict in found[place]]
