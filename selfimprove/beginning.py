"""Before the first round: does the verifier accept what it must accept?

Contract: each verifier that judges single samples is asked of the gold answers of up to 32 training problems and of
completions that are wrong for any problem. A run whose verifier refuses its own gold answers does not start, unless
``verifier.audit`` says ``warn`` or ``off``; what came of it is recorded in the run, once, with the facts that the
verifier states of where it judges (the strength of its sandbox). Verifiers of groups, and those that ask a model,
cannot be asked without samples or a model.

See it work: ``pytest tests/test_beginning.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        kind = form_of(judge.name).kind
        if kind == "judge":
            continue
        facts = context.workers.pool(judge).call("check")
        asked = config.audit != "off" and kind == "sample"
        if not (asked or facts):
            continue
        verifier = verifier_digest(judge.model_dump())
        problems = [p for p in context.splits.train if judge.tasks is None or p.task in judge.tasks]
        inputs = {"verifier": verifier, "problems": digest(sorted(problem.id for problem in problems))}
        step = open_step(context.files, f"setup/audit-{digest(inputs)[:8]}", inputs, context.lease)
        name = f"verifier {judge.name!r}"
        if step.marker is not None:
            before = step.marker.data.get("facts", {})
            if facts != before:
                context.progress.note(f"{name}: {_said(before)} when the run began, {_said(facts)} now")
            continue
        if facts:
            context.progress.note(f"{name}: {_said(facts)}")
        found = QuickAudit()
        if asked:
            found = quick_audit(problems, partial(_judged, context, judge), LIMIT)
            why = found.refused()
            if why and config.audit == "refuse":
                hint = "verifier.audit=warn starts all the same, and records it"
                raise ConfigError(f"{name}: {why}", hint=hint)
            for doubt in filter(None, (why, found.doubts())):
                context.progress.note(f"{name}: {doubt}")
        step.publish(digest=verifier, data={**asdict(found), "audit": config.audit, "facts": facts})


def _said(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items()) or "nothing known"


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
