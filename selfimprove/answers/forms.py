r"""Whether an answer is worked out: a value, and not the question's own expression.

Contract: pure. `unevaluated` looks at an answer's form (what `Policy.forms` allows), `restated` at whether the question
holds it already. Both return "" or one line for people.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Any

from selfimprove.answers.exact import Undecided, Undefined
from selfimprove.answers.latex import parse
from selfimprove.answers.policy import Policy
from selfimprove.answers.tree import FUNCTIONS, Apply, NotMath, Number, Relation, Symbol, Tree, heads, ordered, symbols
from selfimprove.answers.values import value

MAX_SPANS = 20
_TEN = Number(Fraction(10))
_SPAN = re.compile(r"\$\$?([^$]{1,200})\$\$?|\\\(([^$]{1,200}?)\\\)|\\\[([^$]{1,200}?)\\\]")
_COMMAND = re.compile(
    r"\b(?:compute|evaluate|calculate|simplify|find|solve|what\s+is|value\s+of|factor|expand|write|express)\b:?\s*"
    r"([^$?]{1,120}?)(?:[.?]\s|[.?]$|$)",
    re.I,
)


def unevaluated(mine: Tree, gold: Tree, policy: Policy) -> str:
    """What is left to work out in ``mine``, for a known answer that is a number; "" if nothing."""
    if policy.forms == "any" or symbols(gold):
        return ""
    functions = heads(mine) & FUNCTIONS - {"deg"}
    if functions and policy.forms == "evaluated" and not heads(gold) & FUNCTIONS:
        return f"not evaluated: {', '.join(sorted(functions))}"
    plain_gold = _rational(gold)
    if plain_gold and _simple(gold) and not _simple(mine) and policy.forms == "evaluated":
        return "not evaluated: an expression where a number is wanted"
    return "not evaluated: numbers left to add or multiply" if _foldable(mine) else ""


def _simple(tree: Tree) -> bool:
    """A numeral, fraction, power or root of such, with a sign, or scientific notation."""
    if isinstance(tree, Number):
        return True
    if isinstance(tree, Symbol):
        return tree.name in ("pi", "e", "i", "infinity")
    if not isinstance(tree, Apply):
        return False
    if tree.head in ("neg", "/", "^", "root", "deg", "pm", "base"):
        return all(map(_simple, tree.args))
    return _scientific(tree)


def _scientific(tree: Apply) -> bool:
    if tree.head != "*" or len(tree.args) != 2:
        return False
    left, right = tree.args
    left = left.args[0] if isinstance(left, Apply) and left.head == "neg" else left
    ten = isinstance(right, Apply) and right.head == "^" and right.args[0] == _TEN
    return isinstance(left, Number) and (ten or right == _TEN)


def _foldable(tree: Tree) -> bool:
    """Whether two rational numbers are left to be added or multiplied somewhere."""
    if not isinstance(tree, Apply):
        return isinstance(tree, Relation) and any(map(_foldable, tree.sides))
    if tree.head in ("+", "*", "juxt") and not _scientific(tree) and sum(map(_rational, tree.args)) > 1:
        return True
    return any(map(_foldable, tree.args))


def _rational(tree: Tree) -> bool:
    try:
        return not symbols(tree) and value(tree).rational is not None
    except (Undecided, Undefined):
        return False


def restated(text: str, mine: Tree, gold: Tree, prompt: str) -> str:
    """Says so if ``mine`` stands in the question and is not written as the known answer is."""
    if _lowest(mine) or isinstance(mine, Symbol):
        return ""
    key = ordered(mine)
    if key == ordered(gold):
        return ""
    bare = re.sub(r"\s|\\left|\\right|\\[,;:! ]|\$", "", text)
    said = key in spoken(prompt) or (len(bare) >= 3 and _holds(prompt, bare))
    return "restates the question" if said else ""


def restated_fraction(text: str, as_known: bool, prompt: str) -> str:
    r"""The same for a plain number: says so for a fraction that can be reduced and that the question holds."""
    if as_known or ("/" not in text and "frac" not in text):
        return ""
    try:
        tree = parse(text)
    except NotMath:
        return ""
    return restated(text, tree, Number(Fraction(0)), prompt)


def _holds(prompt: str, bare: str) -> bool:
    squeezed = re.sub(r"\s|\\left|\\right|\\[,;:! ]|\$", "", prompt[-4_000:])
    place = squeezed.find(bare)
    while place >= 0:
        before, after = squeezed[place - 1 : place] if place else "", squeezed[place + len(bare) :][:1]
        if not (before.isdigit() and bare[0].isdigit()) and not (after.isdigit() and bare[-1].isdigit()):
            return True
        place = squeezed.find(bare, place + 1)
    return False


def _lowest(tree: Tree) -> bool:
    """A numeral, or a fraction of two integers that cannot be reduced: a value, wherever else it stands."""
    if isinstance(tree, Apply) and tree.head == "neg":
        return _lowest(tree.args[0])
    if isinstance(tree, Apply) and tree.head == "/":
        above, below = tree.args
        if isinstance(above, Number) and isinstance(below, Number) and below.value:
            ratio = above.value / below.value
            return (ratio.numerator, ratio.denominator) == (above.value, below.value)
    return isinstance(tree, Number)


@functools.lru_cache(maxsize=512)
def spoken(prompt: str) -> frozenset[tuple[Any, ...]]:
    """The expressions that a question holds, up to the order of their terms; the sides of relations count, too."""
    prompt = prompt[-4_000:]
    spans = [next(filter(None, match.groups()), "") for match in _SPAN.finditer(prompt)]
    spans += [match[1] for match in _COMMAND.finditer(prompt)]
    found: set[tuple[Any, ...]] = set()
    for span in spans[:MAX_SPANS]:
        try:
            tree = parse(span)
        except NotMath:
            continue
        found.add(ordered(tree))
        for statement in tree.args if isinstance(tree, Apply) and tree.head == "list" else (tree,):
            found.add(ordered(statement))
    return frozenset(found)
