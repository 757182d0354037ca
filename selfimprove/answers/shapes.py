r"""Trees taken apart: lists of solutions, named values, chains of equations, intervals written as inequalities.

Contract: pure. A chain of equations must be true throughout (`Contradiction` otherwise); "=" after a name
(``x``, ``f(2)``, ``\angle ABC``) names the answer and is taken off.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from selfimprove.answers.exact import Undecided, Undefined
from selfimprove.answers.tree import BRACKETS, Apply, Number, Relation, Symbol, Tree, heads, symbols
from selfimprove.answers.values import approximate, value

FUNCTION_NAMES = frozenset(["f", "g", "h", "p", "F", "G", "H", "P", "E", "V", "S", "T", "A", "N", "C", "D", "Q", "R"])
NEAR = 0.01
MAX_MEMBERS = 64

INFINITY = Symbol("infinity")
REALS = Apply("(,)", (Apply("neg", (INFINITY,)), INFINITY))


class Contradiction(ValueError):
    """An equation of the answer is not true, or does not give a value."""


def is_name(tree: Tree) -> bool:
    """What an answer may be called: ``x``, ``a_n``, ``f(2)``, ``|AB|``, ``(x, y)``."""
    if isinstance(tree, Symbol):
        return bool(symbols(tree))
    if not isinstance(tree, Apply):
        return False
    if tree.head == "juxt" and len(tree.args) == 2:
        left, right = tree.args
        called = isinstance(left, Symbol) and left.name.partition("_")[0].rstrip("'") in FUNCTION_NAMES
        return called and (isinstance(right, Symbol | Number) or is_name(right))
    if tree.head == "abs":
        return is_name(tree.args[0])
    return tree.head in BRACKETS and all(isinstance(part, Symbol) and symbols(part) for part in tree.args)


def name_and_value(
    tree: Tree, equal: Callable[[Tree, Tree], bool], asked: Callable[[Tree], bool]
) -> tuple[Tree | None, Tree]:
    """The name of a statement (None if it has none) and the value that it gives.

    ``equal`` decides the links of a chain, ``asked`` whether the question asks for an expression (``x+y`` in
    ``x+y=5``). Raises Contradiction.
    """
    if not isinstance(tree, Relation):
        return None, tree
    if tree.signs == ("in",) and is_name(tree.sides[0]):
        return tree.sides[0], tree.sides[1]
    if set(tree.signs) - {"=", "~"}:
        return None, tree
    sides = list(_exact_sides(tree))
    name = None
    while len(sides) > 1 and (is_name(sides[0]) or asked(sides[0])):
        name = sides.pop(0)
    if len(sides) > 1 and name is None and is_name(sides[-1]) and not symbols(sides[0]):
        name = sides.pop()
    for left, right in pairwise(sides):
        if not equal(left, right):
            raise Contradiction("an equation that does not hold, or that is not solved")
    return name, sides[-1]


def _exact_sides(tree: Relation) -> Sequence[Tree]:
    r"""The sides before the first "about": ``\frac{\pi}{4} \approx 0.785`` is a quarter of pi, if that is near."""
    if "~" not in tree.signs:
        return tree.sides
    cut = tree.signs.index("~") + 1
    exact, rounded = tree.sides[:cut], tree.sides[cut:]
    if is_name(exact[-1]):
        raise Contradiction("only about")
    for side in rounded:
        try:
            about, value_ = approximate(value(exact[-1])), approximate(value(side))
        except (Undecided, Undefined) as unknown:
            raise Contradiction("an approximation that cannot be checked") from unknown
        if about is None or value_ is None or abs(about - value_) > NEAR * max(abs(about), NEAR):
            raise Contradiction("an approximation that is far off")
    return exact


def members(tree: Tree) -> list[Tree] | None:
    """The members of a list or set, with both signs where there is a plus-minus; None for a single thing."""
    if isinstance(tree, Apply) and tree.head in ("list", "{}"):
        found = [one for part in tree.args for one in (members(part) if _plus_minus(part) else [part]) or ()]
        return found[: MAX_MEMBERS + 1]
    if isinstance(tree, Relation) and _plus_minus(tree):
        return [Relation((*tree.sides[:-1], one), tree.signs) for one in members(tree.sides[-1]) or ()]
    return [_signed(tree, 1), _signed(tree, -1)] if _plus_minus(tree) else None


def _plus_minus(tree: Tree) -> bool:
    return "pm" in heads(tree)


def _signed(tree: Tree, sign: int) -> Tree:
    if isinstance(tree, Apply):
        args = tuple(_signed(part, sign) for part in tree.args)
        if tree.head == "pm":
            return args[0] if sign > 0 else Apply("neg", args)
        return Apply(tree.head, args)
    return tree


def as_set(tree: Tree) -> Tree:
    """Inequalities in one letter as intervals, the reals as one; anything else as it is."""
    if tree == Symbol("reals"):
        return REALS
    if isinstance(tree, Apply) and tree.head == "list" and all(isinstance(part, Relation) for part in tree.args):
        pieces = [as_set(part) for part in tree.args]
        if all(isinstance(piece, Apply) and piece.head in BRACKETS for piece in pieces):
            return Apply("cup", tuple(pieces))
        return tree
    if isinstance(tree, Relation) and set(tree.signs) <= {"<", "<="}:
        return _interval(tree.sides, tree.signs) or tree
    if isinstance(tree, Relation) and set(tree.signs) <= {">", ">="}:
        flipped = tuple("<" if sign == ">" else "<=" for sign in reversed(tree.signs))
        return _interval(tree.sides[::-1], flipped) or tree
    return tree


def _interval(sides: tuple[Tree, ...], signs: tuple[str, ...]) -> Tree | None:
    places = [place for place, side in enumerate(sides) if isinstance(side, Symbol) and symbols(side)]
    others = [side for place, side in enumerate(sides) if place not in places]
    if len(places) != 1 or any(symbols(side) for side in others) or len(sides) > 3:
        return None
    place = places[0]
    if (len(sides) == 3) != (place == 1 and len(sides) == 3) or (len(sides) == 2 and place not in (0, 1)):
        return None
    low: Tree = sides[place - 1] if place else Apply("neg", (INFINITY,))
    high: Tree = sides[place + 1] if place + 1 < len(sides) else INFINITY
    opener = "[" if place and signs[place - 1] == "<=" else "("
    closer = "]" if place + 1 < len(sides) and signs[place] == "<=" else ")"
    return Apply(f"{opener},{closer}", (low, high))


def infinite(tree: Tree) -> int:
    """1 or -1 for plus or minus infinity, else 0."""
    if tree == INFINITY:
        return 1
    return -infinite(tree.args[0]) if isinstance(tree, Apply) and tree.head == "neg" else 0


def scaled(tree: Tree, by: Fraction) -> Tree:
    """A percentage as a number."""
    return Number(tree.value * by, "decimal") if isinstance(tree, Number) else Apply("*", (Number(by, "decimal"), tree))
