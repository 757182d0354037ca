"""The nouns: frozen dataclasses that every other module speaks in.

Contract: this module imports the standard library only and does no input or output. A noun is built once and never
changed; verbs take nouns and return nouns. Only these, strings, numbers and paths cross a process boundary.

See it work: ``pytest tests/test_types.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Outcome = Literal["pass", "fail", "error"]
Finish = Literal["stop", "length", "abort", "repetition", "thinking"]
"""``thinking``: the policy ended its turn without ever closing its thinking."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. ``role="text"`` marks bare text, rendered without a chat template.

    Three roles hold JSON: ``json`` a whole message (tool calls, names, ids), ``tools`` the tools that a conversation
    may use, ``template`` what its chat template is told.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is asked, and how a right answer is known.

    ``id`` hashes the prompt (and an optional key). ``prompt`` is what we *train* on; the policy may *see* a view of it.
    ``answer``, ``tests`` and ``meta`` never reach the sampler. ``meta["demonstration"]`` holds a human solution.
    """

    id: str
    prompt: tuple[Message, ...]
    answer: Any = None
    tests: Any = None
    task: str = "default"
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def demonstration(self) -> str | None:
        """The human solution that came with the problem, if any."""
        return self.meta.get("demonstration")

    @property
    def text(self) -> str:
        """The prompt's contents joined by newlines: for display and search, never for sampling."""
        return text_of(self.prompt)


def text_of(prompt: Sequence[Message]) -> str:
    """What a prompt says, its messages joined by newlines: for display and search, never for sampling."""
    return "\n".join(message.content for message in prompt if message.role not in ("tools", "template"))


@dataclass(frozen=True, slots=True)
class Turn:
    """A span of a sample's tokens: ``token_ids[start:end]`` written by ``role``; ``trained`` makes labels.

    ``chars`` says where the span ends in the completion's text.
    """

    role: str
    start: int
    end: int
    trained: bool
    chars: int = 0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How completions are drawn. Names are vLLM's; ``extra`` passes any other vLLM option through unchanged.

    ``max_tokens`` counts new tokens. ``temperature=0`` is greedy. ``logprobs`` asks for the summed
    log-probability of each completion (raw, before temperature, in nats). With ``score`` nothing is drawn: the sample's
    ``logprob`` is that of its request's prefix, from the first token that the prefix changes.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    score: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """All wanted completions of one prompt. ``prompt`` is what the policy sees (the view, already applied).

    ``indexes[i]`` is drawn with ``seeds[i]`` and gets the id ``f"{key}/{indexes[i]}"``. ``prefix`` is text
    forced at the start of the response, ``begun[i]`` the ids of sample i that a killed run had drawn already.
    """

    key: str
    problem_id: str
    prompt: tuple[Message, ...]
    indexes: tuple[int, ...]
    seeds: tuple[int, ...]
    view: str = ""
    prefix: str = ""
    parent: str | None = None
    begun: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion, with everything needed to train on it or to draw it again.

    ``id`` is ``<round>/<step>/<problem id>/<index>``: where it lies in the run. ``prompt`` is the text the
    policy saw and ``prompt_ids`` its token ids. ``token_ids`` are the sampled ids (end token included when the
    policy emitted it; a stop string's tokens cut off). ``turns`` is empty for a plain completion. ``logprob`` is
    the summed raw log-probability in nats, if asked for. ``policy`` is the digest of the policy that wrote it, of which
    ``resumed_at`` tokens had been drawn when a killed run went on.
    """

    id: str
    problem_id: str
    index: int
    view: str
    prompt: str
    prompt_ids: Sequence[int]
    completion: str
    token_ids: Sequence[int]
    finish: Finish
    seed: int
    policy: str
    prefix: str = ""
    parent: str | None = None
    turns: tuple[Turn, ...] = ()
    logprob: float | None = None
    resumed_at: int = 0

    @property
    def truncated(self) -> bool:
        """True unless the policy ended the completion itself: such a sample is never kept."""
        return self.finish != "stop"

    @property
    def spoken(self) -> Sample:
        """The sample as verifiers see it: without the thinking before its answer."""
        if not self.turns or self.turns[0].role != "thinking":
            return self
        return replace(self, completion=self.completion[self.turns[0].chars :].lstrip("\n"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier said of one sample. ``error`` means it could not judge: it has *not* said "wrong".

    ``score`` is the verifier's number (1.0 / 0.0 for a plain yes / no), ``answer`` what was extracted from the
    completion, ``reason`` one line for people, ``error`` the class of an error (``"timeout"``, ``"crash"``, an
    exception's name). ``steps`` holds scores of a solution's steps, or of its tests. ``seconds`` is the wall time of
    judging, ``measured`` what was measured of a program that ran (``seconds``, ``memory_mb``): no part of any digest.
    """

    outcome: Outcome
    score: float = 0.0
    answer: str | None = None
    reason: str = ""
    error: str | None = None
    steps: tuple[float, ...] = ()
    seconds: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.outcome == "pass"


def passing(
    reason: str = "",
    *,
    score: float = 1.0,
    answer: str | None = None,
    steps: Sequence[float] = (),
    measured: Mapping[str, float] | None = None,
) -> Verdict:
    """A verdict that accepts."""
    return Verdict("pass", score, answer, reason, None, tuple(steps), 0.0, measured or {})


def failing(
    reason: str = "",
    *,
    score: float = 0.0,
    answer: str | None = None,
    steps: Sequence[float] = (),
    measured: Mapping[str, float] | None = None,
) -> Verdict:
    """A verdict that rejects."""
    return Verdict("fail", score, answer, reason, None, tuple(steps), 0.0, measured or {})


def erring(error: str, reason: str = "", *, seconds: float = 0.0) -> Verdict:
    """A verdict that could not be reached; ``error`` names the class of failure."""
    return Verdict("error", 0.0, None, reason, error, (), seconds)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A judged sample: one verdict per verifier, combined by the rule "all"."""

    sample: Sample
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> Outcome:
        """``error`` if any verifier could not judge, ``pass`` if every one accepted, else ``fail``."""
        outcome: Outcome = "pass"
        for verdict in self.verdicts:
            if verdict.outcome == "error":
                return "error"
            if verdict.outcome == "fail":
                outcome = "fail"
        return outcome

    @property
    def passed(self) -> bool:
        """Accepted by every verifier *and* ended by the policy itself."""
        return not self.sample.truncated and self.outcome == "pass"

    @property
    def failed(self) -> bool:
        """Rejected by a verifier, none of which erred. Truncated samples are neither passed nor failed."""
        return not self.sample.truncated and self.outcome == "fail"

    @property
    def score(self) -> float:
        """The smallest score: what an "all" rule leaves to rank by."""
        return min((verdict.score for verdict in self.verdicts), default=0.0)


@dataclass(frozen=True, slots=True)
class Group:
    """All attempts at one problem: the unit of judging and selecting."""

    problem: Problem
    attempts: tuple[Attempt, ...]

    @property
    def passed(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.passed)

    @property
    def failed(self) -> tuple[Attempt, ...]:
        return tuple(attempt for attempt in self.attempts if attempt.failed)

    @property
    def solved(self) -> bool:
        return any(attempt.passed for attempt in self.attempts)

    @property
    def pass_rate(self) -> float | None:
        """Passed over judged (truncated ones count as not passed); None if nothing could be judged."""
        judged = sum(attempt.outcome != "error" for attempt in self.attempts)
        return len(self.passed) / judged if judged else None


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A row for supervised finetuning. ``prompt`` is the problem's own prompt, never a view.

    ``completion_ids`` are trained exactly as given, or else ``completion``, tokenised and with an end token. ``weight``
    multiplies the row's loss. ``source`` names the samples it came from.
    """

    prompt: tuple[Message, ...]
    completion: str
    prompt_ids: Sequence[int] | None = None
    completion_ids: Sequence[int] | None = None
    weight: float = 1.0
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A row for preference training: ``chosen`` is preferred to ``rejected``. Ids as in `Demonstration`."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt_ids: Sequence[int] | None = None
    chosen_ids: Sequence[int] | None = None
    rejected_ids: Sequence[int] | None = None
    weight: float = 1.0
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """A row for unpaired preference training: a completion and whether it is desirable."""

    prompt: tuple[Message, ...]
    completion: str
    label: bool
    prompt_ids: Sequence[int] | None = None
    completion_ids: Sequence[int] | None = None
    weight: float = 1.0
    source: tuple[str, ...] = ()


Example = Demonstration | PreferencePair | Label


@dataclass(frozen=True, slots=True)
class Policy:
    """Weights with their lineage.

    ``source`` is a local directory, a hub id (``org/name@revision``) or a server's address (``http://host/v1#model``).
    With ``adapter`` (a directory), ``source`` is the base under it. ``digest`` identifies the weights (content, never
    the path); ``parent`` is the digest of the policy it was trained from.
    """

    source: str
    digest: str
    parent: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One training, as handed to a trainer process.

    ``examples`` is the path of a Parquet file written by the store. ``objective`` is ``"sft"`` or ``"dpo"``.
    ``args`` are TRL's own options (`SFTConfig` / `DPOConfig` fields), ``lora`` PEFT's own (`LoraConfig` fields) or None
    for full training. ``adapter`` says what happens to one that ``start`` carries: ``fresh`` (a new one on
    ``start.source``), ``continue`` (train it on), ``merge`` (fold it into its base, new one on top). ``reference`` is
    the DPO reference policy, ``output`` an empty directory for the result, ``checkpoints`` one that outlives a killed
    process, or nothing. ``quantize`` names the precision of a base under an adapter (nf4).
    """

    objective: str
    examples: str
    start: Policy
    output: str
    reference: Policy | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] | None = None
    adapter: Literal["fresh", "continue", "merge"] = "fresh"
    dtype: str = "auto"
    seed: int = 0
    max_tokens: int | None = None
    checkpoints: str = ""
    quantize: str = ""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a trainer wrote: ``files`` lie under the request's ``output``.

    ``source`` and ``adapter`` are directories for `Policy` (``adapter`` is None for full weights). ``steps`` are
    optimiser steps, ``rows`` the rows trained on, ``dropped`` counts rows left out, ``metrics`` final figures.
    """

    source: str
    adapter: str | None
    steps: int
    rows: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; ``n`` is the number of problems behind it."""

    value: float
    low: float
    high: float
    n: int


def messages(prompt: str | Iterable[Mapping[str, str] | Message]) -> tuple[Message, ...]:
    """The canonical prompt: a bare string becomes one message of role ``text``.

    Raises ValueError for a message without ``role`` or ``content`` strings.
    """
    if isinstance(prompt, str):
        return (Message("text", prompt),)
    result = []
    for item in prompt:
        if isinstance(item, Message):
            result.append(item)
            continue
        role, content = item.get("role"), item.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise ValueError(f"a message needs string 'role' and 'content', got {dict(item)!r}")
        result.append(Message(role, content))
    return tuple(result)
