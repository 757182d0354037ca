"""What every way of selecting is made of: fates of attempts, counted streams, rows built from samples.

Contract: pure. An attempt's fate is one word; a `Selection` is an iterator that carries the `Tally` of what it read,
kept and dropped, so that counting costs nothing extra and no second pass.

See it work: ``pytest tests/test_select.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Generic, TypeVar

from selfimprove.equations import normalised
from selfimprove.types import Attempt, Example, Group, Sample

E_co = TypeVar("E_co", bound=Example, covariant=True)

# Sample order, whatever the order of completion; the id tells apart samples of several steps.
PLACE = attrgetter("sample.index", "sample.id")


@dataclass(slots=True)
class Tally:
    """Counts of one stream: ``seen`` candidates (attempts, or human solutions) = ``kept`` + all ``dropped``.

    ``examples`` are the rows given out. Reasons: ``error``, ``truncated``, ``failed``, ``duplicate``, ``over_cap``;
    pairs add ``unpaired`` and ``same_as_gold``, human solutions ``no_demonstration``.
    """

    seen: int = 0
    kept: int = 0
    examples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.seen += other.seen
        self.kept += other.kept
        self.examples += other.examples
        self.dropped.update(other.dropped)

    def drop(self, reasons: Iterable[str]) -> None:
        self.dropped.update(reasons)

    def as_dict(self) -> dict[str, int]:
        """``{"seen", "kept", "examples", "dropped.<reason>"...}``, reasons by name."""
        counts = {f"dropped.{reason}": count for reason, count in sorted(self.dropped.items()) if count}
        return {"seen": self.seen, "kept": self.kept, "examples": self.examples, **counts}


class Selection(Generic[E_co]):
    """A stream of examples, read once; ``tally`` is complete when the stream has ended."""

    def __init__(self, stream: Iterator[E_co], tally: Tally) -> None:
        self._stream, self.tally = stream, tally

    def __iter__(self) -> Iterator[E_co]:
        return self._stream

    def __next__(self) -> E_co:
        return next(self._stream)


def fate(attempt: Attempt) -> str:
    """``error``, ``truncated``, ``failed`` or ``passed``. What could not be judged did not fail."""
    outcome = attempt.outcome
    if outcome == "error":
        return "error"
    if attempt.sample.finish != "stop":
        return "truncated"
    return "passed" if outcome == "pass" else "failed"


def text_of(sample: Sample) -> str:
    """The whole response: what was forced at its start and what was sampled."""
    return sample.prefix + sample.completion if sample.prefix else sample.completion


def bare_prompt_ids(sample: Sample) -> Sequence[int] | None:
    """Token ids of the problem's own prompt, if that is what the policy saw."""
    bare = not sample.view and not sample.prefix and len(sample.prompt_ids) > 0
    return sample.prompt_ids if bare else None


def row_of(sample: Sample) -> tuple[str, Sequence[int] | None, Sequence[int] | None]:
    """The response's text, the prompt's ids and the response's ids, of what is trained on in a plain row.

    Thinking that is not trained on is read like the prompt; a policy that saw something else than the problem has no
    ids for that, and its answer alone is the response.
    """
    prompt, skipped = bare_prompt_ids(sample), _untrained(sample)
    if not skipped:
        return text_of(sample), prompt, completion_ids(sample)
    if prompt is None:
        return sample.spoken.completion, None, None
    return sample.spoken.completion, [*prompt, *sample.token_ids[:skipped]], sample.token_ids[skipped:]


def _untrained(sample: Sample) -> int:
    """How many of the first tokens are thinking that is not trained on."""
    thinks = bool(sample.turns) and sample.turns[0].role == "thinking" and not sample.turns[0].trained
    return sample.turns[0].end if thinks and all(turn.trained for turn in sample.turns[1:]) else 0


def completion_ids(sample: Sample) -> Sequence[int] | None:
    """The sampled token ids, if they are the whole response.

    Raises ValueError for a response with spans that are not trained on: one row of a pair cannot mask them.
    """
    if sample.turns and not all(turn.trained for turn in sample.turns):
        raise ValueError(
            f"sample {sample.id} holds spans that must not be trained on (model.thinking.train_on: answer goes with "
            "supervised finetuning)"
        )
    return sample.token_ids if not sample.prefix and len(sample.token_ids) > 0 else None


def gold_source(problem_id: str) -> str:
    """How ``source`` names a human solution."""
    return f"gold/{problem_id}"


def in_order(attempts: Iterable[Attempt]) -> list[Attempt]:
    return sorted(attempts, key=PLACE)


def reasons(group: Group, kept: Any) -> list[str]:
    """One word per attempt: ``kept`` if its id is in the container ``kept``, else why not.

    A passed attempt is a ``duplicate`` if its normalised text was kept, else it was ``over_cap``.
    """
    texts = {normalised(text_of(a.sample)) for a in group.attempts if a.sample.id in kept}
    words = []
    for attempt in group.attempts:
        word = "kept" if attempt.sample.id in kept else fate(attempt)
        if word == "passed":
            word = "duplicate" if normalised(text_of(attempt.sample)) in texts else "over_cap"
        words.append(word)
    return words
