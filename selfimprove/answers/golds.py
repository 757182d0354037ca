r"""What a problem's answer column holds: one answer, several, a whole solution, or a game.

Contract: `known` raises ValueError saying what is wrong with the column and how to repair it: a problem without a
usable answer is the data's fault, never the sample's. Readings are cached by value.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from selfimprove.answers import countdown, extraction, reading
from selfimprove.answers.policy import Policy
from selfimprove.answers.reading import MAX_WORDS_CHARS, Answer
from selfimprove.answers.tree import Apply, Symbol
from selfimprove.text import canonical


@dataclass(frozen=True, slots=True)
class Known:
    """``answers`` of which one must be matched, or a ``game``. ``plain`` is the spelling of a bare number, else ""."""

    answers: tuple[Answer, ...] = ()
    game: countdown.Game | None = None
    plain: str = ""

    @property
    def mathematical(self) -> bool:
        """A number or an expression, not words or the letter of a choice."""
        return self.game is not None or any(
            (one.tree is not None and len(one.key) > 1) or one.number for one in self.answers
        )


def known(value: Any, policy: Policy, meta: Mapping[str, Any]) -> Known:
    """The known answer in an answer column. Raises ValueError."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        raise ValueError("has no answer" if value is None else "has a truth value as its answer: write it as text")
    if isinstance(value, int | float | Fraction):
        return _text(repr(value) if isinstance(value, float) else canonical(Fraction(value)))
    if isinstance(value, Mapping):
        if value.get("type") != "countdown":
            raise ValueError(f"has a structured answer of type {value.get('type')!r}; 'countdown' is the one there is")
        return Known(game=countdown.game(value, bool(meta.get("use_all", True))))
    if isinstance(value, Sequence):
        return _several(value, policy, meta)
    raise ValueError(f"has an answer of type {type(value).__name__}: write a number or a string")


def _several(values: Sequence[Any], policy: Policy, meta: Mapping[str, Any]) -> Known:
    if policy.alternatives == "refuse":
        raise ValueError("has a list of answers: say with alternatives=any or alternatives=all what that means")
    each = [known(value, policy, meta) for value in values]
    if not each or any(len(one.answers) != 1 for one in each):
        raise ValueError("has a list of answers that are not all numbers or strings")
    answers = tuple(one.answers[0] for one in each)
    if policy.alternatives == "any" or len(answers) == 1:
        return Known(answers)
    trees = tuple(one.tree if one.tree is not None else Symbol(one.key) for one in answers)
    text = ", ".join(one.text for one in answers)
    return Known((Answer(text, text, tree=Apply("list", trees)),))


@functools.lru_cache(maxsize=8192)
def _text(text: str) -> Known:
    answer = None
    if "####" in text or "\\boxed" in text or "\\fbox" in text:
        found = extraction.marked(text.strip(), numeric=False)
        if found is not None and not found.problem and found.text:
            answer = reading.joined(found.joined) if found.joined else reading.read(found.text)
    elif text.strip():
        answer = reading.read(text.strip())
    if answer is None or not answer.text.strip():
        raise ValueError("has an empty answer")
    if len(text.strip()) > MAX_WORDS_CHARS and "####" not in text and "\\boxed" not in text:
        raise ValueError(f"has an answer longer than {MAX_WORDS_CHARS} characters")
    number = answer.number
    bare = number is not None and not answer.unit and not answer.percent and not answer.name
    return Known((answer,), plain=canonical(number.value) if number is not None and bare else "")
