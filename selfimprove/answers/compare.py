r"""Whether an answer is the known answer: the policy, shape by shape.

Contract: `difference` returns "" if two answers are equal and one line of reason if they are not. Order matters in
tuples, not among solutions; brackets open and closed differ; units and percent signs agree (`Policy`); nothing is
rounded unless `Policy.tolerance` says so. Exact arithmetic decides; only what it cannot decide goes to
`selfimprove.answers.symbolic`, with a limit. Raises `Unjudgeable` if nothing can be said of any answer.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from selfimprove.answers import choices, forms, shapes, symbolic, units
from selfimprove.answers.exact import TooLarge, Undecided, Undefined
from selfimprove.answers.policy import Policy
from selfimprove.answers.reading import Answer, read
from selfimprove.answers.tree import BRACKETS, Apply, Number, Relation, Symbol, Tree, ordered, symbols
from selfimprove.answers.values import Value, approximate, proportional, ratio_sign, same, value

HUNDREDTH = Fraction(1, 100)
INTERVAL_WORDS = ("interval", "inequalit", "solution set", "solve", "range", "domain", "values of", "set of")


class Unjudgeable(ValueError):
    """The known answer cannot be compared with this answer: the verdict is an error, not "wrong"."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One answer against one known answer, under a policy, for a question."""

    mine: Answer
    gold: Answer
    prompt: str
    policy: Policy

    def difference(self) -> str:
        """What differs, "" if nothing does."""
        mine, gold = self.mine, self.gold
        if mine.number is not None and gold.number is not None:
            exact = self.policy.tolerance is None and self.policy.percent == "sign"
            if mine.plain and gold.plain and exact:
                return "" if mine.plain == gold.plain else "another number"
            if not self.same_number(mine.number.value, gold.number.value):
                return "another number"
            if mine.name and gold.name and mine.name != gold.name:
                return "the value of something else"
            return self.marks() or forms.restated_fraction(mine.text, mine.key == gold.key, self.prompt)
        if mine.key and same_text(mine, gold, self.policy):
            return ""
        chosen = self.choice()
        if chosen is not None:
            return chosen
        if gold.tree is None:
            if not gold.words and "\\" in gold.key and gold.why != "words":
                raise Unjudgeable(f"the known answer {gold.text[:100]!r} {gold.why}")
            return "other words"
        if mine.tree is None:
            return mine.why or "not mathematics"
        return self.marks() or self.mathematics(mine.tree, gold.tree)

    def marks(self) -> str:
        """Units. (A percent sign is part of the value.)"""
        if self.policy.units == "ignore" or not self.mine.unit or self.mine.unit == self.gold.unit:
            return ""
        plural = units.is_plural(self.mine.text)
        agreed = units.agree(self.mine.unit, self.gold.unit, self.asked, plural)
        return "" if agreed else f"the unit {self.mine.unit}"

    @property
    def asked(self) -> units.Asked:
        return units.asked(self.prompt)

    def factors(self) -> tuple[Fraction, ...]:
        """By what the answer may be multiplied before it is compared: hundredths are about percent signs."""
        mine, gold = self.mine.percent, self.gold.percent
        if self.policy.percent == "either":
            return (Fraction(1), HUNDREDTH, Fraction(100))
        if mine == gold or self.asked.percent:
            return (Fraction(1),)
        return (HUNDREDTH,) if mine else (Fraction(100),)

    def same_number(self, mine: Fraction, gold: Fraction) -> bool:
        if mine == gold and (self.mine.percent == self.gold.percent or self.policy.percent == "either"):
            return True
        for factor in self.factors():
            if mine * factor == gold or self.near(complex(mine * factor), complex(gold)):
                return True
        return False

    def near(self, mine: complex | None, gold: complex | None) -> bool:
        share = self.policy.tolerance
        return bool(share) and mine is not None and gold is not None and abs(mine - gold) <= (share or 0) * abs(gold)

    def choice(self) -> str | None:
        """The verdict if this is multiple choice; None if it is not."""
        gold, mine = choices.letter(self.gold.text), choices.letter(self.mine.text)
        listed = choices.options(self.prompt)
        if gold and not (gold[1] and not listed) and (mine or listed):
            right = listed.get(gold[0])
            if mine and (not gold[1] or listed):
                return self._chosen(mine, gold[0], right)
            alike = [name for name, content in listed.items() if self._alike(self.mine, content)]
            return "" if alike == [gold[0]] else None
        if mine and listed and not gold:
            content = listed.get(mine[0])
            if content is not None and self._alike(self.gold, content):
                return self._chosen(mine, mine[0], content)
        return None

    def _chosen(self, mine: tuple[str, str], right: str, content: str | None) -> str | None:
        if mine[0] != right:
            return "another choice"
        if not mine[1]:
            return ""
        if content is not None:
            return "" if self._alike(read(mine[1]), content) else "the letter of one choice and the text of another"
        return "" if not choices.hedged(mine[1]) else "more than one choice"

    def _alike(self, answer: Answer, content: str) -> bool:
        other = read(content)
        if answer.number is not None and other.number is not None:
            return answer.number.value == other.number.value and answer.percent == other.percent
        return bool(answer.key) and answer.key.casefold() == other.key.casefold()

    # Mathematics

    def mathematics(self, mine: Tree, gold: Tree) -> str:
        try:
            return self._mathematics(mine, gold)
        except shapes.Contradiction as refused:
            return str(refused)
        except Undefined as refused:
            return str(refused)
        except TooLarge as refused:
            return str(refused)

    def _mathematics(self, mine: Tree, gold: Tree) -> str:
        reason = self._shapes(mine, gold)
        if reason:
            return reason
        return forms.restated(self.mine.text, mine, gold, self.prompt)

    def _shapes(self, mine: Tree, gold: Tree) -> str:
        gold_members = shapes.members(gold)
        if gold_members is not None:
            return self._lists(mine, gold, gold_members)
        if isinstance(gold, Relation) and not (set(gold.signs) == {"="} and shapes.is_name(gold.sides[0])):
            return self._relations(mine, gold)
        if isinstance(gold, Relation):
            return self._named(mine, gold)
        _, found = self._value_of(mine)
        return self._plain(found, gold, mine)

    def _value_of(self, tree: Tree) -> tuple[Tree | None, Tree]:
        return shapes.name_and_value(tree, self._linked, self._asked_for)

    def _linked(self, left: Tree, right: Tree) -> bool:
        """A link of the answer's own chain."""
        if _structured(left) or _structured(right):
            return ordered(left) == ordered(right)
        return self._scalar_same(left, right)

    def _asked_for(self, tree: Tree) -> bool:
        """Whether the question asks for an expression in letters: it stands there by itself."""
        return bool(symbols(tree)) and not isinstance(tree, Relation) and ordered(tree) in forms.spoken(self.prompt)

    def _plain(self, mine: Tree, gold: Tree, whole: Tree) -> str:
        """A value, tuple, interval, matrix or union of them."""
        if isinstance(gold, Apply) and gold.head in BRACKETS and isinstance(mine, Relation | Apply):
            mine = self._bracketed(mine, gold)
        gold = shapes.as_set(gold)
        if (isinstance(gold, Apply) and gold.head == "cup") or gold == shapes.REALS:
            mine = shapes.as_set(mine)
        if isinstance(mine, Relation):
            return "a relation where a value is wanted"
        if _structured(gold) or _structured(mine):
            return self._structures(mine, gold)
        if shapes.members(mine) is not None:
            return "several answers where one is wanted"
        refused = forms.unevaluated(mine, gold, self.policy)
        return refused or ("" if self._scalar_equal(mine, gold) else "another value")

    def _bracketed(self, mine: Tree, gold: Apply) -> Tree:
        r"""``1<x<2`` for an interval (unless the notation is asked for), ``x=1, y=2`` for a pair."""
        prompt = self.prompt.casefold()
        interval = (
            gold.head != "(,)" or any(map(shapes.infinite, gold.args)) or any(w in prompt for w in INTERVAL_WORDS)
        )
        if interval and "interval notation" not in prompt and not _named_values(mine):
            return shapes.as_set(mine)
        named = _named_values(mine)
        if gold.head == "(,)" and named and sorted(named) == list(named):
            return Apply("(,)", tuple(named.values()))
        if isinstance(mine, Apply) and mine.head == "juxt" and len(mine.args) == 2 and isinstance(mine.args[0], Symbol):
            return mine.args[1] if isinstance(mine.args[1], Apply) and mine.args[1].head in BRACKETS else mine
        return mine

    def _structures(self, mine: Tree, gold: Tree) -> str:
        if isinstance(gold, Apply) and gold.head == "base" and isinstance(mine, Number):
            digits = isinstance(gold.args[0], Symbol) and gold.args[0].name == str(mine.value)
            base = gold.args[1].value if isinstance(gold.args[1], Number) else 0
            asked = f"base {base}" in self.prompt or f"base ${base}$" in self.prompt or f"_{base}" in self.prompt
            return "" if digits and (asked or (base == 2 and "binary" in self.prompt)) else "the base is missing"
        if isinstance(gold, Apply) and gold.head == ":" and not _structured(mine) and len(gold.args) == 2:
            return "" if self._scalar_equal(mine, Apply("/", gold.args)) else "another ratio"
        if not isinstance(mine, Apply) or not isinstance(gold, Apply) or mine.head != gold.head:
            return "another kind of answer"
        if len(mine.args) != len(gold.args):
            return "another number of parts"
        if gold.head == "cup":
            return "" if _matched(mine.args, gold.args, self._part_same) else "other parts"
        pairs = zip(mine.args, gold.args, strict=True)
        return "" if all(self._part_same(one, other) for one, other in pairs) else "another part"

    def _part_same(self, mine: Tree, gold: Tree) -> bool:
        if shapes.members(gold) is not None or shapes.members(mine) is not None or isinstance(mine, Relation):
            return not self._shapes(mine, gold)
        return not self._plain(mine, gold, mine)

    def _lists(self, mine: Tree, gold: Tree, wanted: list[Tree]) -> str:
        if len(wanted) > shapes.MAX_MEMBERS:
            raise Unjudgeable(f"the known answer lists more than {shapes.MAX_MEMBERS} things")
        if isinstance(mine, Relation) and shapes.members(mine) is None:
            mine = self._value_of(mine)[1]
        found = shapes.members(mine)
        gold_set, mine_set = shapes.as_set(gold), shapes.as_set(mine)
        if gold_set != gold and mine_set != mine:
            return self._structures(mine_set, gold_set)
        if found is None or len(found) != len(wanted):
            return "another number of solutions"
        names, wanted_names = _named_values(mine), _named_values(gold)
        if names and wanted_names:
            same_names = sorted(names) == sorted(wanted_names)
            return (
                "" if same_names and all(self._part_same(names[n], wanted_names[n]) for n in names) else "other values"
            )
        if names:
            pairs = zip(names.values(), wanted, strict=False)
            return "" if len(names) == len(wanted) and all(self._part_same(*pair) for pair in pairs) else "other values"
        values = [self._member(one) for one in found]
        return "" if _matched(values, [self._member(one) for one in wanted], self._part_same) else "other solutions"

    def _member(self, tree: Tree) -> Tree:
        return self._value_of(tree)[1] if isinstance(tree, Relation) and set(tree.signs) <= {"="} else tree

    def _named(self, mine: Tree, gold: Relation) -> str:
        """A known answer of the form "name = value": the name is optional, another name is another answer."""
        name, wanted = gold.sides[0], gold.sides[-1]
        if isinstance(mine, Relation) and set(mine.signs) <= {"=", "~"}:
            if len(mine.sides) == 2 == len(gold.sides) and self._equations_same(mine, gold):
                return ""
            mine_name, mine = self._value_of(mine)
            if mine_name is not None and ordered(mine_name) != ordered(name):
                return "the value of something else"
            if mine_name is None and symbols(wanted):
                return "another equation"
        elif isinstance(name, Symbol) and symbols(wanted) and not name.name.startswith(("f", "g", "h")):
            return (
                "an expression where an equation is wanted"
                if "equation" in self.prompt
                else self._plain(mine, wanted, mine)
            )
        return self._plain(mine, wanted, mine)

    def _relations(self, mine: Tree, gold: Relation) -> str:
        if not isinstance(mine, Relation):
            wanted = shapes.as_set(gold)
            return self._structures(mine, wanted) if isinstance(wanted, Apply) else "not a relation"
        pairs, wanted_pairs = _links(mine), _links(gold)
        return "" if _matched(pairs, wanted_pairs, self._link_same) else "another relation"

    def _equations_same(self, mine: Relation, gold: Relation) -> bool:
        return self._link_same(_links(mine)[0], _links(gold)[0])

    def _link_same(self, mine: Relation, gold: Relation) -> bool:
        """Whether two relations of two sides say the same: their differences are multiples of each other."""
        if mine.signs != gold.signs or symbols(mine) != symbols(gold):
            return False
        one, two = (Apply("+", (link.sides[0], Apply("neg", (link.sides[1],)))) for link in (mine, gold))
        try:
            left, right = value(one), value(two)
            if not proportional(left, right):
                return False
            return mine.signs[0] in ("=", "!=") or ratio_sign(left, right) > 0
        except TooLarge:
            return False
        except Undecided:
            if mine.signs[0] not in ("=", "!="):
                return ordered(mine) == ordered(gold)
            return self._symbolic(one, two, proportional_only=True)

    def _scalar_equal(self, mine: Tree, gold: Tree) -> bool:
        """The same value, percent signs and tolerance considered."""
        for factor in self.factors():
            if self._scalar_same(mine if factor == 1 else shapes.scaled(mine, factor), gold):
                return True
        return False

    def _scalar_same(self, mine: Tree, gold: Tree) -> bool:
        if shapes.infinite(mine) or shapes.infinite(gold):
            return shapes.infinite(mine) == shapes.infinite(gold)
        if symbols(mine) != symbols(gold):
            return False
        one, two = self._known(mine), self._known(gold)
        if one is not None and two is not None:
            try:
                return same(one, two) or (bool(self.policy.tolerance) and self.near(approximate(one), approximate(two)))
            except TooLarge:
                return False
            except Undecided:
                pass
        return self._symbolic(mine, gold)

    def _known(self, tree: Tree) -> Value | None:
        try:
            return value(tree)
        except TooLarge:
            raise
        except Undecided:
            return None

    def _symbolic(self, mine: Tree, gold: Tree, proportional_only: bool = False) -> bool:
        found = symbolic.equal(mine, gold, self.policy.symbolic_limit_s, proportional=proportional_only)
        if found is None and self.policy.undecided == "error":
            raise Unjudgeable(f"whether {self.mine.text[:100]!r} equals the known answer was not decided in time")
        return bool(found)


def difference(mine: Answer, gold: Answer, prompt: str, policy: Policy) -> str:
    """What differs between an answer and the known one, "" if they are equal. Raises Unjudgeable."""
    return Comparison(mine, gold, prompt, policy).difference()


def same_text(mine: Answer, gold: Answer, policy: Policy) -> bool:
    """Whether two answers are the same text; case counts in mathematics, and if the policy says so."""
    if policy.ignore_case and (gold.tree is None or len(gold.key) == 1):
        return mine.key.casefold() == gold.key.casefold()
    return mine.key == gold.key


def _structured(tree: Tree) -> bool:
    return isinstance(tree, Apply) and tree.head in BRACKETS | {
        "{}",
        "list",
        "matrix",
        "row",
        "cup",
        "cap",
        "minus",
        ":",
        "base",
    }


def _named_values(tree: Tree) -> dict[str, Tree]:
    """``x = 1, y = 2`` with names that all differ, in their order; else nothing."""
    if not isinstance(tree, Apply) or tree.head != "list":
        return {}
    found: dict[str, Tree] = {}
    for part in tree.args:
        named = isinstance(part, Relation) and part.signs == ("=",) and isinstance(part.sides[0], Symbol)
        if not named or not isinstance(part, Relation) or not isinstance(part.sides[0], Symbol):
            return {}
        found[part.sides[0].name] = part.sides[1]
    return found if len(found) == len(tree.args) else {}


def _links(tree: Relation) -> list[Relation]:
    """A chain as relations of two sides, pointing one way."""
    found = []
    for left, sign, right in zip(tree.sides, tree.signs, tree.sides[1:], strict=False):
        if sign in (">", ">="):
            left, right, sign = right, left, "<" if sign == ">" else "<="
        found.append(Relation((left, right), (sign,)))
    return found


def _matched(mine: Sequence[Any], gold: Sequence[Any], same_: Callable[[Any, Any], bool]) -> bool:
    """Whether the members can be paired off, whatever their order."""
    if len(mine) != len(gold):
        return False
    left = list(gold)
    for one in mine:
        place = next((place for place, other in enumerate(left) if same_(one, other)), None)
        if place is None:
            return False
        del left[place]
    return True
