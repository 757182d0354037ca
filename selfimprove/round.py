"""A round and its verbs: attempt, ask, train, evaluate. Each verb is a durable step.

Contract: a verb publishes its result once under its name; called again, in this process or after a kill, it returns
what was published. Calling a verb with other inputs than its published result was made from raises
`FingerprintError` naming them. The same verb twice in one round needs two names. A view changes only what the policy
*sees*; training examples are built from the problem itself.

See it work: ``selfimprove recipes show rest_em``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from selfimprove import data as datasets
from selfimprove.config import VerifierConfig
from selfimprove.context import Context, check_policy, policy_of, read_groups, relative
from selfimprove.errors import ConfigError, IntegrityError, Starved
from selfimprove.evaluate.evaluation import Evaluation, evaluation_of
from selfimprove.inputs import OBJECTIVES, View, kind_of, sampling_inputs, sampling_params, shown, training_inputs
from selfimprove.pipeline import Pipeline, Work
from selfimprove.policies import model_digest
from selfimprove.selection import Tally
from selfimprove.store import tables
from selfimprove.store.digest import digest, seed_of
from selfimprove.store.failpoints import failpoint
from selfimprove.store.files import disk_errors
from selfimprove.store.groups import Groups, read_samples
from selfimprove.store.steps import Step, open_step
from selfimprove.types import (
    Example,
    Message,
    Policy,
    Problem,
    TrainRequest,
    messages,
)
from selfimprove.verify import ErrorBudget, verifier_digest


@dataclass
class Round:
    """What a recipe receives.

    ``policy`` is sampled from by default; ``policies`` names the others: ``initial`` (the checkpoint given), ``base``
    (what entered round 1), ``previous`` (the last candidate trained, continued from or not), ``best`` (the best so
    far). ``problems`` are this round's training problems; ``demonstrations`` are problems with human solutions.
    """

    index: int
    policy: Policy
    policies: Mapping[str, Policy]
    problems: Sequence[Problem]
    context: Context
    memory: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    place: str = "rounds"
    _names: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """Where the round's steps lie in the run directory."""
        return f"{self.place}/{self.index:03d}"

    @property
    def base(self) -> Policy:
        return self.policies["base"]

    @property
    def is_last(self) -> bool:
        """Whether the run ends after this round, as configured now."""
        return self.index == self.context.config.rounds

    @cached_property
    def rng(self) -> random.Random:
        """Randomness for recipes: depends on the run's seed and the round alone."""
        return random.Random(seed_of(self.context.config.seed, self.index, "rng"))

    @property
    def demonstrations(self) -> Sequence[Problem]:
        """Problems with a human solution: ``data.demonstrations``, else this round's problems that carry one."""
        return self.context.demonstrations or [p for p in self.problems if p.demonstration is not None]

    # -- sampling ----------------------------------------------------------------------------------------------

    def attempt(
        self,
        problems: Sequence[Problem] | None = None,
        *,
        n: int = 1,
        view: View | None = None,
        verifier: str | None = None,
        policy: Policy | None = None,
        name: str = "attempt",
        **params: Any,
    ) -> Groups:
        """Sample ``n`` completions for each problem and judge them; returns the groups, read lazily.

        ``view`` maps a problem to what the policy sees instead of its prompt. ``verifier`` overrides the run's (a
        spec). ``params`` override the run's sampling parameters (``temperature=0.7``). Raises TooManyErrors when
        too many samples cannot be judged.
        """
        asked = list(self.problems if problems is None else problems)
        work = self._work(name, asked, n, view, policy or self.policy, params)
        judge = self._verifier(verifier)
        groups = self._sample(work, judge)
        for count, value in groups.counts.items():
            self.counts[count] = self.counts.get(count, 0) + value
        return groups

    def ask(
        self,
        prompts: Iterable[str | Sequence[Message]],
        *,
        parse: Callable[[str], Any] | None = None,
        policy: Policy | None = None,
        name: str = "ask",
        **params: Any,
    ) -> list[Any]:
        """Any other call of the model: one completion per prompt, in order, batched and durable.

        ``parse`` runs on read over the stored raw completions, so it may change without asking again.
        """
        asked = [messages(prompt) for prompt in prompts]
        problems = [Problem(digest([i, [(m.role, m.content) for m in p]])[:16], p) for i, p in enumerate(asked)]
        groups = self._sample(self._work(name, problems, 1, None, policy or self.policy, params), None)
        samples = chain.from_iterable(
            read_samples(groups.samples, part) for _, part in sorted(groups.samples.parts.items())
        )
        return [parse(sample.completion) if parse else sample.completion for sample in samples]

    def history(self, name: str = "attempt", window: int | None = None) -> list[Groups]:
        """The same step of earlier rounds (at most the last ``window``), oldest first."""
        first = 1 if window is None else max(1, self.index - window)
        found = (read_groups(self.context, f"rounds/{index:03d}/{name}") for index in range(first, self.index))
        return [groups for groups in found if groups is not None]

    def evaluate(
        self,
        policy: Policy,
        problems: Sequence[Problem] | None = None,
        *,
        n: int = 1,
        name: str = "evaluate",
        **params: Any,
    ) -> Evaluation:
        """Accuracy of ``policy`` on ``problems`` (default: the gate split) with a 95 % interval; greedy for n = 1."""
        asked = list(self.context.splits.gate if problems is None else problems)
        settings = self.context.config.evaluation
        chosen = {"temperature": 0.0 if n == 1 else 1.0, **settings.params, **params}
        if settings.max_tokens:
            chosen.setdefault("max_tokens", settings.max_tokens)
        groups = self._sample(self._work(name, asked, n, None, policy, chosen), self._verifier(None), stage="evaluate")
        failpoint("evaluation.committed")
        return evaluation_of(groups)

    def _verifier(self, spec: str | None) -> VerifierConfig:
        config = self.context.config.verifier
        return config if spec is None else config.model_copy(update={"name": spec, "args": {}})

    def _work(
        self, name: str, problems: list[Problem], n: int, view: View | None, policy: Policy, params: Mapping[str, Any]
    ) -> Work:
        self._claim(name)
        if not problems:
            raise ConfigError(f"round {self.index}, step {name}: there is no problem to ask")
        if n < 1:
            raise ConfigError(f"round {self.index}, step {name}: n is {n}; at least one sample per problem is drawn")
        prompts = shown(problems, view, f"round {self.index}, step {name}")
        part = max(1, self.context.config.sampling.part_samples // n)
        view_name = "" if view is None else getattr(view, "__name__", "view")
        settings = sampling_params(self.context.config, params)
        return Work(
            f"{self.key}/{name}", problems, prompts, n, settings, policy, self.context.config.seed, part, view_name
        )

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise ConfigError(
                f"round {self.index}: two steps are called {name!r}", hint="give the second one its own name=..."
            )
        self._names.add(name)

    def _sample(self, work: Work, judge: VerifierConfig | None, stage: str = "sample") -> Groups:
        context = self.context
        context.stop.check()
        inputs = sampling_inputs(work, context.config)
        samples = open_step(context.files, f"{work.name}/samples", inputs, context.lease)
        verdicts = None
        if judge is not None:
            judged = {
                "samples": digest(inputs),
                "answers": datasets.answers_digest(work.problems),
                "verifier": verifier_digest(judge.model_dump()),
            }
            verdicts = open_step(context.files, f"{work.name}/verdicts-{digest(judged)[:8]}", judged, context.lease)
        groups = Groups(samples, verdicts, {problem.id: problem for problem in work.problems})
        if samples.marker is None or (verdicts is not None and verdicts.marker is None):
            self._run(work, samples, verdicts, judge, stage)
        return groups

    def _run(self, work: Work, samples: Step, verdicts: Step | None, judge: VerifierConfig | None, stage: str) -> None:
        context = self.context
        budget = ErrorBudget(judge.max_error_share if judge else 1.0)
        check_policy(context.files, work.policy)
        with context.progress.stage(work.name, len(work.problems) * work.n):
            pool = context.workers.pool(judge) if judge else None
            pipeline = Pipeline(work, samples, verdicts, context.workers, pool, budget, context.progress, context.stop)
            try:
                pipeline.run()
            except BaseException:
                context.workers.abort()
                raise
        seconds = {"sample": stage, "verify": "verify", "commit": "commit", "load": "load"}
        for name, spent in pipeline.seconds.items():
            self.seconds[seconds[name]] = self.seconds.get(seconds[name], 0.0) + spent

    # -- training ----------------------------------------------------------------------------------------------

    def train(
        self,
        examples: Iterable[Example],
        *,
        start: str | Policy = "base",
        reference: str | Policy | None = None,
        objective: str | None = None,
        name: str = "train",
        args: Mapping[str, Any] | None = None,
    ) -> Policy:
        """Finetune from ``start`` on ``examples`` in the trainer process; returns the new policy.

        ``start`` and ``reference`` name one of `policies` or are policies. The objective follows from the examples:
        demonstrations give ``sft``, preference pairs ``dpo`` (whose ``reference`` defaults to ``start``). ``args``
        override the run's native TRL options. Raises Starved if there is no example.
        """
        self._claim(name)
        context = self.context
        context.stop.check()
        kind, rows = kind_of(examples)
        if kind is None:
            raise Starved(
                f"round {self.index}: no sample survived the filter, so there is nothing to train on",
                hint=f"look at some: selfimprove show {context.files.root} rounds/{self.index:03d}/attempt",
            )
        chosen = objective or OBJECTIVES[kind]
        begin = self.named(start)
        against = self.named(reference) if reference is not None else begin if chosen == "dpo" else None
        if against is not None:
            self._check_reference(begin, against)
        path, marker_digest, count = self._publish_examples(name, rows, kind, getattr(examples, "tally", None))
        request = self._request(chosen, path, begin, against, args or {})
        inputs = training_inputs(request, marker_digest)
        step = open_step(context.files, f"{self.key}/{name}/policy", inputs, context.lease)
        if step.marker is None:
            self._fit(step, request)
        assert step.marker is not None
        self.counts["kept"] = self.counts.get("kept", 0) + count
        self.counts["trained"] = self.counts.get("trained", 0) + step.marker.counts["rows"]
        self.counts["steps"] = self.counts.get("steps", 0) + step.marker.counts["steps"]
        return policy_of(context.files, step)

    def named(self, policy: str | Policy) -> Policy:
        """The policy called ``initial``, ``base``, ``previous`` or ``best``; a `Policy` is returned as it is."""
        if isinstance(policy, Policy):
            return policy
        if policy not in self.policies:
            raise ConfigError(f"there is no policy called {policy!r}; there are {', '.join(self.policies)}")
        return self.policies[policy]

    def _check_reference(self, start: Policy, reference: Policy) -> None:
        """Refuse in the first round what would fail in the second: a fresh adapter lies on another start."""
        config = self.context.config
        fresh = config.training.lora is not None and config.training.adapter == "fresh"
        if fresh and config.rounds > 1 and start.digest == reference.digest:
            raise ConfigError(
                "training.adapter: a fresh adapter starts from the base below the last one, away from the reference",
                hint="use training.adapter=continue or training.adapter=merge",
            )

    def _publish_examples(
        self, name: str, rows: Iterable[Example], kind: type, tally: Tally | None
    ) -> tuple[Path, str, int]:
        """Write the rows once, with the reasons for which others were dropped.

        Selection is pure, so on resume the rows are made again and must have the same digest.
        """
        context = self.context
        step = open_step(context.files, f"{self.key}/{name}/examples", {"kind": kind.__name__}, context.lease)
        path = None if step.marker else step.workdir() / "examples.parquet"
        stamp, count = tables.write_examples(path, rows, kind)
        if path is not None:
            failpoint("examples.written")
            step.publish([path], digest=stamp, counts={"rows": count}, data=tally.as_dict() if tally else {})
        assert step.marker is not None
        if step.marker.digest != stamp:
            raise IntegrityError(
                f"{context.files.local(step.key)}: selection gives {count} other rows than were published",
                hint="a recipe must be deterministic: use round.rng for randomness, and do not edit it during a run",
            )
        return step.path(step.marker.outputs[0]), stamp, count

    def _request(
        self, objective: str, path: Path, start: Policy, reference: Policy | None, args: Mapping[str, Any]
    ) -> TrainRequest:
        training = self.context.config.training
        return TrainRequest(
            objective,
            str(path),
            start,
            output="",
            reference=reference,
            args={**training.args, **args},
            lora=training.lora,
            adapter=training.adapter,
            dtype=training.dtype,
            seed=seed_of(self.context.config.seed, self.key, "train") % (1 << 31),
            max_tokens=training.max_tokens,
        )

    def _fit(self, step: Step, request: TrainRequest) -> None:
        context = self.context
        output = step.workdir() / "model"
        context.files.folder(f"{output.relative_to(context.files.root)}")
        for policy in filter(None, (request.start, request.reference)):
            check_policy(context.files, policy)
        failpoint("train.before")
        with context.progress.stage(f"{self.key}/train", 0) as spent, disk_errors(output):
            result = context.workers.train(replace(request, output=str(output)))
        failpoint("train.after")
        self.seconds["train"] = self.seconds.get("train", 0.0) + spent()
        files = sorted(path for path in output.rglob("*") if path.is_file())
        root = context.files.local(step.key)
        served = Path(result.adapter or result.source)
        stamp = digest([model_digest(served), model_digest(Path(result.source)) if result.adapter else ""])
        where = {
            "source": relative(result.source, root),
            "adapter": relative(result.adapter, root) if result.adapter else None,
            "parent": request.start.digest,
            "metrics": dict(result.metrics),
            "dropped": dict(result.dropped),
            "precision": request.start.precision,
        }
        counts = {"rows": result.rows, "steps": result.steps}
        step.publish(files, digest=stamp, counts=counts, data=where, seconds=dict(result.seconds))
