"""Examples to token ids: what is trained, exactly, and a reason for every row that is left out.

Contract: a row given as ids is trained as those ids; a row given as text is the rendered prompt, the tokenised
completion and one end token. Nothing is truncated: a row that does not fit is dropped and counted. A batch holds
one tensor row per sequence (for pairs: all chosen ones, then all rejected ones), padded on the right.

See it work: ``pytest tests/training/test_rows.py``.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError, PreconditionError, Starved
from selfimprove.prompts import PLAIN, Style
from selfimprove.types import Demonstration, Example, PreferencePair

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

KINDS: Mapping[str, type] = {"sft": Demonstration, "dpo": PreferencePair}


@dataclass(frozen=True, slots=True)
class Row:
    """One example as ids: each sequence is prompt and completion, the first ``prompt_len`` ids being the prompt."""

    prompt_len: int
    sequences: tuple[array[int], ...]
    weight: float

    @property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(map(len, self.sequences))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one training, in file order, and how many were left out by reason."""

    kept: list[Row]
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        return max(row.length for row in self.kept)

    @property
    def trained_tokens(self) -> int:
        """Completion tokens of one pass over the rows."""
        return sum(len(ids) - row.prompt_len for row in self.kept for ids in row.sequences)


@dataclass(frozen=True)
class Encoder:
    """How one model reads examples: its tokenizer, end tokens (the first one ends a text), vocabulary and limit."""

    tokenizer: PreTrainedTokenizerBase
    end_ids: tuple[int, ...]
    vocabulary: int
    max_tokens: int | None
    style: Style = PLAIN

    @cached_property
    def turn_end(self) -> tuple[int, ...]:
        """What ends a response in a conversation."""
        from selfimprove.prompts import turn_end

        return turn_end(self.tokenizer, self.style)

    def prompt(self, example: Example) -> array[int]:
        from selfimprove.prompts import render

        ids = example.prompt_ids
        return array("i", render(self.tokenizer, example.prompt, style=self.style).ids if ids is None else ids)

    def completion(self, text: str, ids: Sequence[int] | None, spoken: bool = False) -> array[int]:
        """``spoken``: the text answers a conversation, and ends as the template ends a turn."""
        if ids is not None:
            return array("i", ids)
        ends = (self.turn_end if spoken else ()) or self.end_ids[:1]
        if not ends:
            raise PreconditionError(
                "the model names no end token, so a completion given as text cannot be ended",
                hint="set eos_token in tokenizer_config.json or eos_token_id in config.json",
            )
        return array("i", [*self.tokenizer.encode(text, add_special_tokens=False), *ends])

    def is_empty(self, ids: Iterable[int]) -> bool:
        """Nothing but end tokens."""
        return all(token in self.end_ids for token in ids)


def encoder_of(source: Path, model: Mapping[str, Any], max_tokens: int | None) -> Encoder:
    """How the model in ``source`` reads examples; ``model`` is a `ModelConfig` as a dictionary."""
    from selfimprove.prompts import end_token_ids, load_tokenizer
    from selfimprove.training import models

    trusts, style = bool(model.get("trust_remote_code", False)), Style.of(model)
    tokenizer = load_tokenizer(str(source), chat_template=model.get("chat_template"), trust_remote_code=trusts)
    ends = end_token_ids(tokenizer, str(source), style)
    limits = [limit for limit in (max_tokens, models.context_tokens(source)) if limit]
    return Encoder(tokenizer, ends, models.vocabulary(source), min(limits, default=None), style)


def encode(objective: str, examples: Iterable[Example], encoder: Encoder) -> Rows:
    """Examples as rows. ConfigError for rows of the wrong kind, a weight that is no number or an id outside the
    vocabulary; Starved if no row is left."""
    kept: list[Row] = []
    dropped: Counter[str] = Counter()
    for number, example in enumerate(examples):
        if type(example) is not KINDS[objective]:
            wanted = KINDS[objective].__name__
            raise ConfigError(
                f"objective {objective!r} trains on {wanted} rows, row {number} is {type(example).__name__}"
            )
        row = _row(example, encoder)
        reason = _reason(row, encoder)
        if reason:
            dropped[reason] += 1
            continue
        _check(row, number, encoder)
        kept.append(row)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "the file holds none"
        raise Starved(f"no example is left to train on ({reasons})", hint=_starved_hint(dropped, encoder))
    return Rows(kept, dict(sorted(dropped.items())))


def _row(example: Example, encoder: Encoder) -> Row:
    prompt = encoder.prompt(example)
    if isinstance(example, PreferencePair):
        answers = [(example.chosen, example.chosen_ids), (example.rejected, example.rejected_ids)]
    else:
        answers = [(example.completion, example.completion_ids)]
    spoken = example.prompt[0].role != "text"
    completions = [encoder.completion(text, ids, spoken) for text, ids in answers]
    return Row(len(prompt), tuple(prompt + ids for ids in completions), float(example.weight))


def _reason(row: Row, encoder: Encoder) -> str:
    """Why a row cannot be trained on, or nothing. An empty *rejected* answer is a fair example of a bad one."""
    first, *others = (ids[row.prompt_len :] for ids in row.sequences)
    if encoder.is_empty(first) or not all(others):
        return "empty"
    if others and others[0] == first:
        return "identical"
    if encoder.max_tokens is not None and row.length > encoder.max_tokens:
        return "too_long"
    return ""


def _check(row: Row, number: int, encoder: Encoder) -> None:
    if not math.isfinite(row.weight):
        raise ConfigError(f"row {number}: its weight is {row.weight}, which is no number to multiply a loss by")
    low, high = min(map(min, row.sequences)), max(map(max, row.sequences))
    if low < 0 or high >= encoder.vocabulary:
        token = high if low >= 0 else low
        raise ConfigError(
            f"row {number}: token id {token} is outside the model's {encoder.vocabulary} embeddings",
            hint="examples must be sampled with the tokenizer of the model that is trained",
        )


def _starved_hint(dropped: Mapping[str, int], encoder: Encoder) -> str:
    if dropped.get("too_long"):
        return f"rows may have {encoder.max_tokens} tokens: raise training.max_tokens or sample shorter completions"
    return "sample more completions per problem, or loosen what is selected"


class Collator:
    """Row numbers to one batch of tensors: ``input_ids``, ``attention_mask``, ``completion_mask`` and ``weight``."""

    def __init__(self, rows: Rows, pad_id: int, multiple: int | None = None) -> None:
        self.rows, self.pad_id, self.multiple = rows.kept, pad_id, multiple or 1

    def __call__(self, examples: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        return self.batch([example["row"] for example in examples])

    def _spare(self, numbers: Sequence[int]) -> Row:
        """A row without effect: all prompt, no weight, no longer than the others of its batch."""
        like = self.rows[next((number for number in numbers if number >= 0), 0)]
        first = min(like.sequences, key=len)
        return Row(len(first), tuple(first for _ in like.sequences), 0.0)

    def batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """``input_ids`` and both masks are (sequences, tokens), ``weight`` is (rows,)."""
        import torch

        rows = [self.rows[number] if number >= 0 else self._spare(numbers) for number in numbers]
        sequences = [row.sequences[side] for side in range(len(rows[0].sequences)) for row in rows]
        width = math.ceil(max(map(len, sequences)) / self.multiple) * self.multiple
        ids = torch.full((len(sequences), width), self.pad_id, dtype=torch.long)
        for line, sequence in zip(ids, sequences, strict=True):
            line[: len(sequence)] = torch.frombuffer(sequence, dtype=torch.int32)
        place = torch.arange(width)
        within = place < torch.tensor([len(sequence) for sequence in sequences])[:, None]
        sides = len(sequences) // len(rows)
        after_prompt = place >= torch.tensor([row.prompt_len for row in rows] * sides)[:, None]
        return {
            "input_ids": ids,
            "attention_mask": within.long(),
            "completion_mask": (within & after_prompt).long(),
            "weight": torch.tensor([row.weight for row in rows], dtype=torch.float32),
        }
