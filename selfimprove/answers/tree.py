"""What a mathematical answer looks like once it is read: four frozen nouns, and ways to turn a tree over.

Contract: pure data. A tree holds no more than `MAX_NODES` nodes and is at most `MAX_DEPTH` deep, because the parser
refuses longer texts; every function here is linear in it.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MAX_DEPTH = 50
MAX_NODES = 2_000


class NotMath(ValueError):
    """The text is no mathematical expression that we read. ``reason`` is one line for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Number:
    """A literal. ``written`` is ``int``, ``decimal``, ``repeating``, ``scientific`` or ``mixed``."""

    value: Fraction
    written: str = "int"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A letter, a named constant (``pi``, ``e``, ``i``, ``infinity``), a set (``reals``) or a name with an index."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on parts.

    Heads: ``+ * / ^ neg pm root ! abs floor ceil log ln sin ... binom gcd lcm max min mod deg base``; ``juxt`` is a
    product without a sign. Structure: ``list`` (separated by commas, "and", "or"), ``{}`` (a set), ``(,)`` ``[,)``
    ``(,]`` ``[,]`` (tuples and intervals), ``matrix`` of ``row``, ``cup`` ``cap`` ``minus`` (of sets), ``:`` (a ratio).
    """

    head: str
    args: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """``sides[0] signs[0] sides[1] signs[1] ...``; signs are ``= != < <= > >= ~ in``."""

    sides: tuple[Tree, ...]
    signs: tuple[str, ...]


Tree = Number | Symbol | Apply | Relation

CONSTANTS = frozenset({"pi", "e", "i", "infinity", "reals", "complexes", "integers", "rationals", "naturals"})
BRACKETS = frozenset({"(,)", "[,)", "(,]", "[,]"})
STRUCTURE = BRACKETS | {"list", "{}", "matrix", "row", "cup", "cap", "minus", ":"}
FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "log",
        "ln",
        "exp",
        "binom",
        "gcd",
        "lcm",
        "max",
        "min",
        "mod",
        "floor",
        "ceil",
        "abs",
        "!",
        "deg",
    ]
)


def parts(tree: Tree) -> tuple[Tree, ...]:
    """The direct parts."""
    if isinstance(tree, Apply):
        return tree.args
    return tree.sides if isinstance(tree, Relation) else ()


def symbols(tree: Tree) -> frozenset[str]:
    """The names of unknowns in a tree."""
    if isinstance(tree, Symbol):
        return frozenset() if tree.name in CONSTANTS else frozenset({tree.name})
    return frozenset().union(*(symbols(part) for part in parts(tree)))


def heads(tree: Tree) -> frozenset[str]:
    """The heads of all operations in a tree; ``rel`` where there is a relation."""
    own = {tree.head} if isinstance(tree, Apply) else {"rel"} if isinstance(tree, Relation) else set()
    return frozenset(own).union(*(heads(part) for part in parts(tree)))


def ordered(tree: Tree) -> tuple[Any, ...]:
    """A key that trees share which differ in the order of terms, factors and members only."""
    if isinstance(tree, Number):
        return ("number", str(tree.value))
    if isinstance(tree, Symbol):
        return ("symbol", tree.name)
    if isinstance(tree, Relation):
        sides = [ordered(side) for side in tree.sides]
        flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
        signs = list(tree.signs)
        if repr(sides[-1]) < repr(sides[0]):
            sides, signs = sides[::-1], [flipped.get(sign, sign) for sign in signs[::-1]]
        return ("relation", *signs, *sides)
    head = "*" if tree.head == "juxt" else tree.head
    keys = [ordered(part) for part in tree.args]
    if head in ("+", "*"):
        flat = [inner for key in keys for inner in (key[1:] if key[0] == head else (key,))]
        keys = sorted(flat, key=repr)
    elif head in ("{}", "list", "cup"):
        keys = sorted(keys, key=repr)
    return (head, *keys)


def plain(tree: Tree) -> list[Any]:
    """The tree as lists and strings: what crosses to another process."""
    if isinstance(tree, Number):
        return ["number", str(tree.value.numerator), str(tree.value.denominator)]
    if isinstance(tree, Symbol):
        return ["symbol", tree.name]
    if isinstance(tree, Relation):
        return ["relation", list(tree.signs), *map(plain, tree.sides)]
    return [tree.head, *map(plain, tree.args)]
