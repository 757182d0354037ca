r"""Multiple choice: the options that a question lists, and the letter that an answer names.

Contract: pure and linear. A letter counts only where it stands as one: ``B``, ``(B)``, ``B.``, ``Option B``,
``(B) its text``; "A careful look" is no choice.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from selfimprove.text import plain

LETTERS = "ABCDEFGHIJ"
_MARK = re.compile(r"(?<![A-Za-z0-9\\])\(?([A-J])(?:\)|[.:](?=\s))\}?")
_NAMED = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s+)?(?:\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-Ja-j]))"
    r"(?P<mark>[).:]?)(?:\s*(?P<rest>\S.*))?",
    re.S | re.I,
)
_HEDGE = re.compile(
    r"\b(?:or|and|not|nor|maybe|both|either|neither|but|wrong|incorrect)\b|(?<![A-Za-z])\(?[A-J]\)", re.I
)


@functools.lru_cache(maxsize=1024)
def options(prompt: str) -> Mapping[str, str]:
    """The options of a question by letter: A, B, ... in this order, at least two; empty if it lists none."""
    marks = list(_MARK.finditer(prompt[-8_000:]))
    best: dict[str, str] = {}
    for start, first in enumerate(marks):
        if first[1] != "A":
            continue
        run = [first]
        for mark in marks[start + 1 :]:
            if len(run) < len(LETTERS) and mark[1] == LETTERS[len(run)]:
                run.append(mark)
        if len(run) >= 2:
            best = _contents(prompt[-8_000:], run)
    return best


def _contents(prompt: str, run: list[re.Match[str]]) -> dict[str, str]:
    found = {}
    for mark, following in zip(run, [*run[1:], None], strict=True):
        piece = prompt[mark.end() : following.start() if following else None]
        piece = piece.strip() if following else piece.strip().partition("\n")[0]
        piece = re.sub(r"\\text(?:bf|rm)?\s*\{\s*$|\\qquad|\\quad", " ", piece)
        found[mark[1]] = piece.strip().strip(",;.}\\").strip()
    return found


def letter(text: str) -> tuple[str, str] | None:
    """The letter that an answer names, and what it says after it; None if it names none."""
    match = _NAMED.fullmatch(plain(text).strip())
    if match is None:
        return None
    bracketed = bool(match[1] or match[2])
    rest = (match["rest"] or "").strip()
    if rest and not (bracketed or match["mark"]):
        return None
    return (match[1] or match[2] or match[3]).upper(), rest


def hedged(rest: str) -> bool:
    """Whether the words after a letter name another one or take it back."""
    return bool(_HEDGE.search(rest))
