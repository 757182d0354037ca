"""How samples get their verdicts: by one verifier or several, in worker processes or by asking a model.

Contract: every verifier has a durable step of its own, keyed by what was sampled and by what it is, so that changing
one of several judges again with that one alone, and samples nothing. A verifier's step lies in ``verdicts-<digest>``;
of several, each lies in ``leaf-<digest>`` and ``verdicts-<digest>`` holds what the rule makes of them. The first one
works while sampling goes on; in a cascade each is asked only of what the ones before left open. Truncated samples are
asked of nobody.

See it work: ``pytest tests/test_judged.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol

from selfimprove import data as datasets
from selfimprove import plugins
from selfimprove.config import JudgeConfig, VerifierConfig
from selfimprove.context import Context, check_policy
from selfimprove.errors import ConfigError
from selfimprove.inputs import sampling_inputs
from selfimprove.judging import Question, Reply
from selfimprove.pipeline import Pipeline
from selfimprove.policies import policy_at
from selfimprove.store import tables
from selfimprove.store.digest import digest
from selfimprove.store.groups import Groups, read_samples
from selfimprove.store.steps import Step, open_step
from selfimprove.types import Policy, Problem, Sample, Verdict, erring
from selfimprove.verify import ErrorBudget, verifier_digest
from selfimprove.verify.combine import Rule, combine, left_open, rule_of
from selfimprove.verify.forms import form_of, make
from selfimprove.verify.verdicts import TRUNCATED, describe, normalise_all, retryable
from selfimprove.work import Work, commit, publish_verdicts
from selfimprove.workers import Workers

SECONDS = {"verify": "verify", "commit": "commit", "load": "load"}


class Asker(Protocol):
    """What is needed of a round: the policies that may answer a judge, and how they are asked."""

    context: Context
    policies: Mapping[str, Policy]
    seconds: dict[str, float]

    def replies(self, questions: Sequence[Question], policy: Policy, name: str) -> list[Reply]: ...


@dataclass(frozen=True)
class Leaf:
    """One verifier, where its verdicts go, and the policy it asks if it asks one."""

    config: JudgeConfig
    step: Step
    policy: Policy | None


def check_verifiers(config: VerifierConfig, workers: Workers, problems: Sequence[Problem] = ()) -> None:
    """Load every verifier and judge nothing. ConfigError if one cannot be loaded, or a problem's task has none."""
    if all(judge.tasks is not None for judge in config.judges):
        known = {task for judge in config.judges for task in judge.tasks or ()}
        missing = sorted({problem.task for problem in problems} - known)
        if missing:
            what = f"no verifier judges problems of task {', '.join(map(repr, missing))}"
            raise ConfigError(what, hint=f"verifiers are given for: {', '.join(sorted(known))}")
    for judge in config.judges:
        if form_of(judge.name).kind == "judge":
            make(judge.name, plugins.resolve("verifier", judge.name), judge.args)
        else:
            workers.pool(judge).call("check")


def sampled(round_: Asker, work: Work, judge: VerifierConfig | None, stage: str = "sample") -> Groups:
    """Draw and judge whatever of ``work`` is not published yet. May raise Stopped or TooManyErrors."""
    context = round_.context
    context.stop.check()
    samples = open_step(context.files, f"{work.name}/samples", sampling_inputs(work, context.config), context.lease)
    problems = {problem.id: problem for problem in work.problems}
    if judge is None:
        if samples.marker is None:
            _run(round_, work, samples, None, stage)
        return Groups(samples, None, problems)
    leaves, final = _steps(round_, work, samples, judge)
    if samples.marker is None or final.marker is None:
        _judge(round_, work, samples, judge, leaves, final, stage)
    return Groups(samples, final, problems)


def rejudged(round_: Asker, work: Work, samples: Step, judge: VerifierConfig) -> tuple[Groups, bool]:
    """Committed samples judged by another verifier, beside what was said before; and whether that was done already."""
    leaves, final = _steps(round_, work, samples, judge, "rejudged")
    known = final.marker is not None
    if not known:
        _judge(round_, work, samples, judge, leaves, final, "verify")
    return Groups(samples, final, {problem.id: problem for problem in work.problems}), known


def _steps(
    round_: Asker, work: Work, samples: Step, judge: VerifierConfig, prefix: str = "verdicts"
) -> tuple[list[Leaf], Step]:
    """The step of every verifier, and the one that holds the verdicts that count."""
    context, asked = round_.context, digest(samples.inputs)
    answers = datasets.answers_digest(work.problems)
    leaves: list[Leaf] = []
    known: list[str] = []
    alone = len(judge.judges) == 1 and judge.judges[0].tasks is None
    for config in judge.judges:
        policy = _judging_policy(round_, work, config)
        what = {"samples": asked, "answers": answers, "verifier": verifier_digest(config.model_dump())}
        if policy is not None:
            what["judged by"] = policy.digest
        if config.tasks is not None:
            what["of tasks"] = digest(sorted(config.tasks))
        if judge.rule == "cascade" and known:
            what["after"] = digest(known)
        known.append(digest(what))
        key = f"{work.name}/{prefix if alone else 'leaf'}-{known[-1][:8]}"
        leaves.append(Leaf(config, open_step(context.files, key, what, context.lease), policy))
    if alone:
        return leaves, leaves[0].step
    what = {"samples": asked, "answers": answers, "verifier": verifier_digest(judge.model_dump()), "of": digest(known)}
    return leaves, open_step(context.files, f"{work.name}/{prefix}-{digest(what)[:8]}", what, context.lease)


def _judging_policy(round_: Asker, work: Work, config: JudgeConfig) -> Policy | None:
    """Who answers a verifier that asks a model; None for any other verifier."""
    if form_of(config.name).kind != "judge":
        return None
    if config.policy is None:
        return work.policy
    return round_.policies[config.policy] if config.policy in round_.policies else policy_at(config.policy)


def _judge(
    round_: Asker, work: Work, samples: Step, judge: VerifierConfig, leaves: Sequence[Leaf], final: Step, stage: str
) -> None:
    rule = rule_of(judge)
    if leaves[0].policy is not None and samples.marker is None:
        _run(round_, work, samples, None, stage)
    for place, leaf in enumerate(leaves):
        if leaf.step.marker is not None and samples.marker is not None:
            continue
        before = _Before(rule, [earlier.step for earlier in leaves[:place]])
        asked = _asked(work, leaf.config, before.left_open if judge.rule == "cascade" and place else None)
        budget = ErrorBudget(judge.max_error_share)
        if leaf.policy is None:
            _run(round_, work, samples, leaf, stage, budget, asked)
        else:
            _ask(round_, work, samples, leaf, budget, asked)
    if final.marker is None:
        _combine(work, samples, _Before(rule, [leaf.step for leaf in leaves]), final)


def _asked(
    work: Work, config: JudgeConfig, left_open: Callable[[int, Sample], bool] | None
) -> Callable[[int, Sample], bool] | None:
    """Which samples a verifier is asked of: those of its tasks that the ones before left open; None for all."""
    if config.tasks is None:
        return left_open
    mine = {problem.id for problem in work.problems if problem.task in (config.tasks or ())}
    return lambda part, sample: sample.problem_id in mine and (left_open is None or left_open(part, sample))


def _run(
    round_: Asker,
    work: Work,
    samples: Step,
    leaf: Leaf | None,
    stage: str,
    budget: ErrorBudget | None = None,
    asked: Callable[[int, Sample], bool] | None = None,
) -> None:
    """Sample what is missing, and judge it in worker processes meanwhile."""
    context = round_.context
    check_policy(context.files, work.policy)
    with context.progress.stage(work.name, len(work.problems) * work.n):
        pipeline = Pipeline(
            work,
            samples,
            leaf.step if leaf else None,
            context.workers,
            context.workers.pool(leaf.config) if leaf else None,
            budget or ErrorBudget(1.0),
            context.progress,
            context.stop,
            grouped=leaf is not None and form_of(leaf.config.name).kind == "group",
            asked=asked,
        )
        try:
            pipeline.run()
        except BaseException:
            context.workers.abort()
            raise
    for name, spent in pipeline.seconds.items():
        name = SECONDS.get(name, stage)
        round_.seconds[name] = round_.seconds.get(name, 0.0) + spent


class _Before:
    """What verifiers have said of the samples of a part; the part looked at last is kept in memory."""

    def __init__(self, rule: Rule, steps: Sequence[Step]) -> None:
        self.rule, self.steps = rule, steps
        self._part = lru_cache(maxsize=2)(self._read)

    def _read(self, part: int) -> list[Mapping[str, Verdict]]:
        return [_by_sample(step, part) for step in self.steps]

    def of(self, part: int, sample: Sample) -> list[Verdict | None]:
        return [said.get(sample.id) for said in self._part(part)]

    def left_open(self, part: int, sample: Sample) -> bool:
        return left_open(self.rule, self.of(part, sample))


def _by_sample(step: Step, part: int) -> dict[str, Verdict]:
    table = tables.read(step.path(step.parts[part].outputs[0]))
    return dict(zip(table["sample_id"].to_pylist(), tables.verdicts_of(table), strict=True))


def _combine(work: Work, samples: Step, before: _Before, final: Step) -> None:
    for number, marker in sorted(samples.parts.items()):
        if number not in final.parts:
            rows = read_samples(samples, marker)
            verdicts = [combine(before.rule, before.of(number, row)) for row in rows]
            publish_verdicts(final, number, marker.counts["problems"], rows, verdicts)
    commit(final, {})


# -- asking a model ------------------------------------------------------------------------------------------------


def _ask(
    round_: Asker,
    work: Work,
    samples: Step,
    leaf: Leaf,
    budget: ErrorBudget,
    asked: Callable[[int, Sample], bool] | None,
) -> None:
    """Let a judge ask its model of every group, part by part; what cannot be read is asked again with other seeds."""
    spec = leaf.config.name
    judge = make(spec, plugins.resolve("verifier", spec), leaf.config.args)
    for number, marker in sorted(samples.parts.items()):
        if number in leaf.step.parts:
            continue
        rows = read_samples(samples, marker)
        judged = {row.id: _unasked(row) for row in rows if row.finish != "stop"}
        open_rows = [row for row in rows if row.id not in judged and (asked is None or asked(number, row))]
        groups = [list(group) for _, group in groupby(open_rows, key=attrgetter("problem_id"))]
        for attempt in range(leaf.config.retries + 1):
            name = f"{leaf.step.key}/asked/{number:06d}-{attempt}"
            verdicts = _verdicts(round_, work, leaf, judge, groups, name)
            judged.update({row.id: v for group, said in verdicts for row, v in zip(group, said, strict=True)})
            groups = [group for group, said in verdicts if any(map(retryable, said))]
            if not groups:
                break
        found = [row for row in rows if row.id in judged]
        budget.add([judged[row.id] for row in found])
        publish_verdicts(leaf.step, number, marker.counts["problems"], found, [judged[row.id] for row in found])
    budget.settle()
    commit(leaf.step, {})


def _unasked(sample: Sample) -> Verdict:
    aborted = erring("abort", "the prompt does not fit into the model's context")
    return aborted if sample.finish == "abort" else TRUNCATED


def _verdicts(
    round_: Asker, work: Work, leaf: Leaf, judge: Any, groups: Sequence[list[Sample]], name: str
) -> list[tuple[list[Sample], list[Verdict]]]:
    problems = {problem.id: problem for problem in work.problems}
    shown = [[sample.spoken for sample in group] for group in groups]
    with plugins.blamed("verifier", leaf.config.name, "while it wrote its questions"):
        questions = [list(judge.questions(problems[group[0].problem_id], group)) for group in shown]
    assert leaf.policy is not None
    replies = iter(round_.replies([question for asked in questions for question in asked], leaf.policy, name))
    found = []
    for group, seen, asked in zip(groups, shown, questions, strict=True):
        heard = [next(replies) for _ in asked]
        try:
            said: Any = judge.verdicts(problems[group[0].problem_id], seen, heard)
            verdicts = normalise_all(said, len(group), leaf.config.threshold)
        except Exception as error:  # the wall around a verifier: whatever it raises is an error of its group
            verdicts = [erring(type(error).__name__, describe(error))] * len(group)
        found.append((group, verdicts))
    return found
