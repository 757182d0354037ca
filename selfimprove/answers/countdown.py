r"""The numbers game: an expression from given numbers that makes a target.

Contract: the expression holds each number exactly once (``every=False``: at most once), ``+ - * /`` and parentheses and
nothing else; typographic signs and ``\frac`` are read. No powers, no whole-number division, no digits put together.
Values are exact fractions. A trailing ``= target`` is fine if it is true. Nothing is evaluated but our own tree.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from selfimprove.answers.latex import parse
from selfimprove.answers.tree import Apply, NotMath, Number, Relation, Tree

MAX_NUMBERS = 50


@dataclass(frozen=True, slots=True)
class Game:
    """The numbers to use and the number to make."""

    numbers: tuple[Fraction, ...]
    target: Fraction
    every: bool = True


def game(gold: Mapping[str, Any], every: bool = True) -> Game:
    """From ``{"type": "countdown", "numbers": [...], "target": n}``. Raises ValueError saying what is wrong with it."""
    try:
        numbers = tuple(Fraction(str(number)) for number in gold["numbers"])
        target = Fraction(str(gold["target"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"needs `numbers` (a list of numbers) and `target` (a number): {error!r}") from error
    if not 0 < len(numbers) <= MAX_NUMBERS:
        raise ValueError(f"has {len(numbers)} numbers; it takes 1 to {MAX_NUMBERS}")
    return Game(numbers, target, bool(gold.get("use_all", every)))


def difference(text: str, game: Game) -> str:
    """Why an expression does not win, "" if it does."""
    try:
        tree = parse(re.sub(r"\\(?:boxed|fbox)\s*(?=\{)", "", text))
        sides = tree.sides if isinstance(tree, Relation) and set(tree.signs) == {"="} else (tree,)
        if any(_value(side) != game.target for side in sides):
            return "it does not make the target"
    except NotMath as refused:
        return refused.reason
    except ZeroDivisionError:
        return "it divides by zero"
    wanted = Counter(game.numbers)
    for side in sides:
        used = Counter(_numbers(side))
        if used == wanted or (not game.every and used and used <= wanted):
            return ""
    return "it does not use the given numbers, each once"


def _value(tree: Tree) -> Fraction:
    if isinstance(tree, Number) and tree.written == "int":
        return tree.value
    if not isinstance(tree, Apply) or tree.head not in ("+", "*", "/", "neg"):
        raise NotMath("holds something other than whole numbers, + - * / and parentheses")
    values = [_value(arg) for arg in tree.args]
    if tree.head == "neg":
        return -values[0]
    if tree.head == "/":
        return values[0] / values[1]
    total = values[0]
    for value in values[1:]:
        total = total + value if tree.head == "+" else total * value
    return total


def _numbers(tree: Tree) -> list[Fraction]:
    if isinstance(tree, Number):
        return [tree.value]
    return [number for arg in tree.args for number in _numbers(arg)] if isinstance(tree, Apply) else []
