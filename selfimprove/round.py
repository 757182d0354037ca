"""A round and its verbs: attempt, ask, train, evaluate. Each verb is a durable step.

Contract: a verb publishes its result once under its name; called again, in this process or after a kill, it returns
what was published. Calling a verb with other inputs than its published result was made from raises
`FingerprintError` naming them. The same verb twice in one round needs two names. A view changes only what the policy
*sees*; training examples are built from the problem itself.

See it work: ``selfimprove recipes show rest_em``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selfimprove.config import VerifierConfig
from selfimprove.config.models import RULES
from selfimprove.context import Context, check_policy, policy_of, read_groups, relative
from selfimprove.errors import ConfigError, IntegrityError, Starved
from selfimprove.evaluate.evaluation import Evaluation, evaluation_of
from selfimprove.inputs import OBJECTIVES, View, kind_of, sampling_params, shown, training_inputs
from selfimprove.judged import sampled
from selfimprove.judging import Question, Reply
from selfimprove.policies import is_address, model_digest, policy_at
from selfimprove.selection import Tally
from selfimprove.store import tables
from selfimprove.store.begun import may_go_on
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
    Sample,
    TrainRequest,
    messages,
)
from selfimprove.work import Work


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
        policy: str | Policy | None = None,
        name: str = "attempt",
        **params: Any,
    ) -> Groups:
        """Sample ``n`` completions for each problem and judge them; returns the groups, read lazily.

        ``view`` maps a problem to what the policy sees instead of its prompt. ``verifier`` overrides the run's (a
        spec). ``params`` override the run's sampling parameters (``temperature=0.7``). Raises TooManyErrors when
        too many samples cannot be judged.
        """
        asked = list(self.problems if problems is None else problems)
        work = self._work(name, asked, n, view, self.named(policy or self.policy), params)
        groups = sampled(self, work, self._verifier(verifier))
        for count, value in groups.counts.items():
            self.counts[count] = self.counts.get(count, 0) + value
        return groups

    def ask(
        self,
        prompts: Iterable[str | Sequence[Message]],
        *,
        parse: Callable[[str], Any] | None = None,
        policy: str | Policy | None = None,
        name: str = "ask",
        **params: Any,
    ) -> list[Any]:
        """Any other call of the model: one completion per prompt, in order, batched and durable.

        ``parse`` runs on read over the stored raw completions, so it may change without asking again.
        """
        work = self._work(name, _numbered(prompts), 1, None, self.named(policy or self.policy), params)
        said = (sample.completion for sample in _samples(sampled(self, work, None)))
        return [parse(text) if parse else text for text in said]

    def score(
        self,
        prompts: Iterable[str | Sequence[Message]],
        texts: Sequence[str],
        *,
        policy: str | Policy | None = None,
        name: str = "score",
    ) -> list[float]:
        """The log-probability (nats) of ``texts[i]`` as the response to prompt i; batched and durable like `ask`."""
        work = self._work(name, _numbered(prompts), 1, None, self.named(policy or self.policy), {"score": True})
        found = list(_samples(sampled(self, replace(work, prefixes=tuple(texts)), None)))
        too_long = [sample.id for sample in found if sample.logprob is None]
        if too_long:
            raise ConfigError(f"round {self.index}, step {name}: {too_long[0]} does not fit into the model's context")
        return [float(sample.logprob or 0.0) for sample in found]

    def replies(self, questions: Sequence[Question], policy: Policy, name: str) -> list[Reply]:
        """What ``policy`` answers to the questions of a judge, in order; questions of one kind go in one batch."""
        found: list[Reply | None] = [None] * len(questions)
        kinds: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            kind = digest([dict(question.params), question.continuation is None])[:8]
            kinds.setdefault(kind, []).append(place)
        for kind, places in sorted(kinds.items()):
            asked = [questions[place] for place in places]
            scored = asked[0].continuation is not None
            params = {"score": True} if scored else dict(asked[0].params)
            work = self._work(kind, _numbered(q.prompt for q in asked), 1, None, policy, params, key=name)
            if scored:
                work = replace(work, prefixes=tuple(q.continuation or "" for q in asked))
            for place, sample in zip(places, _samples(sampled(self, work, None, "verify")), strict=True):
                text = None if scored else sample.completion
                found[place] = Reply(text, sample.finish, sample.logprob)
        return [reply for reply in found if reply is not None]

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
        work = replace(self._work(name, asked, n, None, policy, chosen), engine=settings.engine)
        groups = sampled(self, work, self._verifier(None), stage="evaluate")
        failpoint("evaluation.committed")
        return evaluation_of(groups)

    def _verifier(self, spec: str | None) -> VerifierConfig:
        config = self.context.config.verifier
        if spec is None:
            return config
        alone = dict.fromkeys(RULES)
        return config.model_copy(update={**alone, "name": spec, "args": {}, "policy": None})

    def _work(
        self,
        name: str,
        problems: list[Problem],
        n: int,
        view: View | None,
        policy: Policy,
        params: Mapping[str, Any],
        key: str | None = None,
    ) -> Work:
        """``key``: where the step lies, if it belongs to another one; then no other step can have its name."""
        if key is None:
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
            f"{key or self.key}/{name}",
            problems,
            prompts,
            n,
            settings,
            policy,
            self.context.config.seed,
            part,
            view_name,
            keep_every=(self.context.config.sampling.keep_tokens_every or 0) if may_go_on(settings) else 0,
        )

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise ConfigError(
                f"round {self.index}: two steps are called {name!r}", hint="give the second one its own name=..."
            )
        self._names.add(name)

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
        if self.index:  # a warm-up selects nothing
            context.stop.after("select")
        request = self._request(chosen, path, begin, against, args or {})
        inputs = training_inputs(request, marker_digest, context.config.training)
        step = open_step(context.files, f"{self.key}/{name}/policy", inputs, context.lease)
        if step.marker is None:
            self._fit(step, request)
        assert step.marker is not None
        self.counts["kept"] = self.counts.get("kept", 0) + count
        self.counts["trained"] = self.counts.get("trained", 0) + step.marker.counts["rows"]
        self.counts["steps"] = self.counts.get("steps", 0) + step.marker.counts["steps"]
        return policy_of(context.files, step)

    def named(self, policy: str | Policy) -> Policy:
        """The policy called ``initial``, ``base``, ``previous`` or ``best``, or the one at a server's address
        (``http://host:8000/v1#model``: a teacher, a judge); a `Policy` is returned as it is."""
        if isinstance(policy, Policy):
            return policy
        if is_address(policy):
            return policy_at(policy)
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
            quantize=training.quantize or "",
        )

    def _fit(self, step: Step, request: TrainRequest) -> None:
        context = self.context
        output = step.workdir() / "model"
        context.files.folder(f"{output.relative_to(context.files.root)}")
        for policy in filter(None, (request.start, request.reference)):
            check_policy(context.files, policy)
        checkpoints = context.files.folder(f"{step.key}/checkpoints")
        context.files.delete(f"{step.key}/checkpoints/STOP")  # what an earlier attempt was told
        asked = replace(request, output=str(output), checkpoints=str(checkpoints))
        failpoint("train.before")
        with context.progress.stage(f"{self.key}/train", 0) as spent, disk_errors(output):
            result = context.workers.train(asked, context.stop)
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
        }
        counts = {"rows": result.rows, "steps": result.steps}
        step.publish(files, digest=stamp, counts=counts, data=where, seconds=dict(result.seconds))
        context.files.delete(f"{step.key}/checkpoints")


def _numbered(prompts: Iterable[str | Sequence[Message]]) -> list[Problem]:
    """Prompts of which each is asked, also those that are asked twice."""
    asked = [messages(prompt) for prompt in prompts]
    return [Problem(digest([i, [(m.role, m.content) for m in p]])[:16], p) for i, p in enumerate(asked)]


def _samples(groups: Groups) -> Iterator[Sample]:
    for _, part in sorted(groups.samples.parts.items()):
        yield from read_samples(groups.samples, part)
