"""The exact value of an expression, as a fraction of two polynomials, and whether two values are equal.

Contract: `value` reads a tree without relations, lists or brackets. `same` says True or False only if it is proved, and
raises `Undecided` otherwise (then `selfimprove.answers.symbolic` is asked); `Undefined` means that there is no such
number. No floating point takes part in a decision. Work is bounded by `selfimprove.answers.exact.Budget`.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import starmap

from selfimprove.answers import exact
from selfimprove.answers.exact import Budget, Poly, TooLarge, Undecided, Undefined
from selfimprove.answers.latex import MAX_EXPONENT
from selfimprove.answers.tree import Apply, Number, Symbol, Tree

MAX_FACTORIAL = 3_000


@dataclass(frozen=True, slots=True)
class Value:
    """``above / below``; ``below`` is never zero."""

    above: Poly
    below: Poly

    @property
    def rational(self) -> Fraction | None:
        above, below = exact.rational(self.above), exact.rational(self.below)
        return above / below if above is not None and below else None

    @property
    def opaque(self) -> bool:
        """Holds functions of which only the text is known."""
        return any(key[0] == 4 for poly in (self.above, self.below) for monomial in poly for key, _ in monomial)


ONE = exact.constant(Fraction(1))


def value(tree: Tree, budget: Budget | None = None) -> Value:
    """The exact value. Raises Undecided or Undefined."""
    return _value(tree, budget or Budget())


def same(one: Value, two: Value) -> bool:
    """Whether two values are equal. Raises Undecided if exact arithmetic does not know."""
    budget = Budget()
    difference = _cross(one, two, budget)
    if not difference:
        return True
    if one.opaque or two.opaque:
        raise Undecided("functions beyond exact arithmetic")
    return False


def proportional(one: Value, two: Value) -> bool:
    """Whether one is the other times a rational number that is not zero. Raises Undecided."""
    if one.opaque or two.opaque:
        raise Undecided("functions beyond exact arithmetic")
    budget = Budget()
    left = exact.multiply(one.above, two.below, budget)
    right = exact.multiply(two.above, one.below, budget)
    if not left or not right or left.keys() != right.keys():
        return False
    return len({left[monomial] / right[monomial] for monomial in left}) == 1


def ratio_sign(one: Value, two: Value) -> int:
    """The sign of the rational factor between two proportional values."""
    budget = Budget()
    left = exact.multiply(one.above, two.below, budget)
    right = exact.multiply(two.above, one.below, budget)
    monomial = next(iter(left))
    return 1 if left[monomial] / right[monomial] > 0 else -1


def approximate(found: Value) -> complex | None:
    """A floating-point value for display rounding and tolerances; None with letters or functions in it."""
    if found.opaque:
        return None
    try:
        above, below = _float(found.above), _float(found.below)
        return above / below if above is not None and below else None
    except (OverflowError, ZeroDivisionError):
        return None


def _float(poly: Poly) -> complex | None:
    total = 0j
    for monomial, coefficient in poly.items():
        term = complex(float(coefficient))
        for (kind, name), exponent in monomial:
            if kind == 3:
                return None
            base = {"pi": math.pi, "e": math.e, "i": 1j}.get(str(name)) if kind else float(name)
            if base is None:
                base = math.log(float(str(name).removeprefix("ln ")))
            term *= base ** float(exponent)
        total += term
    return total


def _cross(one: Value, two: Value, budget: Budget) -> Poly:
    left = exact.multiply(one.above, two.below, budget)
    return exact.add(left, exact.multiply(two.above, one.below, budget), budget, -1)


def _value(tree: Tree, budget: Budget) -> Value:
    budget.spend(1)
    if isinstance(tree, Number):
        return Value(exact.constant(tree.value), ONE)
    if isinstance(tree, Symbol):
        return _symbol(tree.name)
    if not isinstance(tree, Apply) or tree.head not in _RULES:
        raise Undecided("not a single value")
    return _RULES[tree.head](list(tree.args), budget)


def _symbol(name: str) -> Value:
    if name in ("pi", "e"):
        return Value(exact.generator(1, name), ONE)
    if name == "i":
        return Value(exact.generator(2, "i"), ONE)
    if name == "infinity":
        raise Undefined("arithmetic with infinity")
    return Value(exact.generator(3, name), ONE)


def _sum(args: list[Tree], budget: Budget) -> Value:
    total = _value(args[0], budget)
    for arg in args[1:]:
        other = _value(arg, budget)
        if total.below == other.below:
            total = Value(exact.add(total.above, other.above, budget), total.below)
            continue
        left = exact.multiply(total.above, other.below, budget)
        above = exact.add(left, exact.multiply(other.above, total.below, budget), budget)
        total = Value(above, exact.multiply(total.below, other.below, budget))
    return total


def _product(args: list[Tree], budget: Budget) -> Value:
    total = _value(args[0], budget)
    for arg in args[1:]:
        total = _times(total, _value(arg, budget), budget)
    return total


def _times(one: Value, two: Value, budget: Budget) -> Value:
    return Value(exact.multiply(one.above, two.above, budget), exact.multiply(one.below, two.below, budget))


def _inverse(found: Value, budget: Budget) -> Value:
    if not found.above:
        raise Undefined("division by zero")
    if len(found.above) == 1:
        return Value(exact.multiply(found.below, exact.inverse_monomial(found.above), budget), ONE)
    return Value(found.below, found.above)


def _quotient(args: list[Tree], budget: Budget) -> Value:
    return _times(_value(args[0], budget), _inverse(_value(args[1], budget), budget), budget)


def _negative(args: list[Tree], budget: Budget) -> Value:
    found = _value(args[0], budget)
    return Value({monomial: -coefficient for monomial, coefficient in found.above.items()}, found.below)


def _power(args: list[Tree], budget: Budget) -> Value:
    base, exponent = _value(args[0], budget), _value(args[1], budget)
    count = exponent.rational
    if count is None:
        return _opaque("power", [base, exponent])
    if abs(count) > MAX_EXPONENT:
        raise TooLarge("an exponent beyond the limit")
    if count < 0 or (count == 0 and not base.above):
        base = _inverse(base, budget)
    return _raised(base, abs(count), budget)


def _raised(base: Value, count: Fraction, budget: Budget) -> Value:
    if count.denominator == 1:
        whole = int(count)
        return Value(exact.raised(base.above, whole, budget), exact.raised(base.below, whole, budget))
    known = base.rational
    if known is not None:
        if abs(known) == 1 or count.numerator == 1:
            return Value(exact.raised(exact.root_of(known, count.denominator), count.numerator, budget), ONE)
        inner = exact.root_of(known, count.denominator)
        return Value(exact.raised(inner, count.numerator, budget), ONE)
    return _root_of_letters(base, count, budget)


def _root_of_letters(base: Value, count: Fraction, budget: Budget) -> Value:
    """A root of one positive term in letters to the first power: (4x)^(1/2) is 2 x^(1/2). Anything else is opaque."""
    if base.below != ONE or len(base.above) != 1:
        return _opaque("power", [base, Value(exact.constant(count), ONE)])
    ((monomial, coefficient),) = base.above.items()
    simple = all(kind in (1, 3) and (exponent == 1 or name in ("pi", "e")) for (kind, name), exponent in monomial)
    if coefficient <= 0 or not simple or any(str(name).startswith("ln") for (_, name), _ in monomial):
        return _opaque("power", [base, Value(exact.constant(count), ONE)])
    outside = exact.raised(exact.root_of(coefficient, count.denominator), count.numerator, budget)
    letters: Poly = {tuple((key, exponent * count) for key, exponent in monomial): Fraction(1)}
    return Value(exact.multiply(outside, letters, budget), ONE)


def _root(args: list[Tree], budget: Budget) -> Value:
    degree = _value(args[0], budget).rational
    if degree is None or degree.denominator != 1 or not 2 <= degree <= 100:
        raise Undecided("an unusual root")
    return _raised(_value(args[1], budget), Fraction(1, int(degree)), budget)


def _opaque(head: str, args: list[Value]) -> Value:
    """A function of which only equal arguments are known to give equal values."""
    text = " ".join(f"{_spelled(arg.above)}/{_spelled(arg.below)}" for arg in args)
    return Value(exact.generator(4, f"{head} {text}"), ONE)


def _spelled(poly: Poly) -> str:
    return str(sorted((str(monomial), str(coefficient)) for monomial, coefficient in poly.items()))


def _degrees(args: list[Tree], budget: Budget) -> Value:
    half_turn: Poly = {(((1, "pi"), Fraction(1)),): Fraction(1, 180)}
    return _times(_value(args[0], budget), Value(half_turn, ONE), budget)


def _whole(args: list[Tree], budget: Budget) -> list[int]:
    found = [_value(arg, budget).rational for arg in args]
    if any(number is None or number.denominator != 1 for number in found):
        raise Undecided("whole numbers are needed")
    return [int(number) for number in found if number is not None]


def _factorial(args: list[Tree], budget: Budget) -> Value:
    (count,) = _whole(args, budget)
    if not 0 <= count <= MAX_FACTORIAL:
        raise TooLarge("a factorial beyond the limit")
    budget.spend(count)
    return Value(exact.constant(Fraction(math.factorial(count))), ONE)


def _binomial(args: list[Tree], budget: Budget) -> Value:
    count, chosen = _whole(args, budget)
    if not 0 <= chosen <= count <= MAX_FACTORIAL:
        raise TooLarge("a binomial coefficient beyond the limit")
    budget.spend(count)
    return Value(exact.constant(Fraction(math.comb(count, chosen))), ONE)


def _of_whole(function: Callable[..., int]) -> Callable[[list[Tree], Budget], Value]:
    return lambda args, budget: Value(exact.constant(Fraction(function(*_whole(args, budget)))), ONE)


def _of_rational(function: Callable[..., Fraction | int]) -> Callable[[list[Tree], Budget], Value]:
    def rule(args: list[Tree], budget: Budget) -> Value:
        found = [_value(arg, budget) for arg in args]
        known = [item.rational for item in found]
        if any(number is None for number in known):
            return _opaque(function.__name__, found)
        return Value(exact.constant(Fraction(function(*known))), ONE)

    return rule


def _natural_logarithm(args: list[Tree], budget: Budget) -> Value:
    found = _value(args[0], budget)
    known = found.rational
    if known is None:
        if found.below == ONE and list(found.above.values()) == [1] and len(next(iter(found.above))) == 1:
            ((kind, name), exponent) = next(iter(found.above))[0]
            if (kind, name) == (1, "e"):
                return Value(exact.constant(exponent), ONE)
        return _opaque("ln", [found])
    if known <= 0:
        raise Undefined("a logarithm of a number that is not positive")
    total: Poly = {}
    for part, sign in ((known.numerator, 1), (known.denominator, -1)):
        for prime, count in exact.factors(part).items():
            total[(((1, f"ln {prime}"), Fraction(1)),)] = Fraction(sign * count)
    return Value(total, ONE)


def _logarithm(args: list[Tree], budget: Budget) -> Value:
    """ln x / ln b, reduced to a rational where the two are multiples of each other."""
    base, inside = _natural_logarithm(args[:1], budget), _natural_logarithm(args[1:], budget)
    if not base.above:
        raise Undefined("a logarithm to the base 1")
    if inside.above.keys() == base.above.keys() and inside.below == base.below == ONE:
        found = set(starmap(_ratio, ((inside.above[monomial], base.above[monomial]) for monomial in base.above)))
        if len(found) == 1:
            return Value(exact.constant(found.pop()), ONE)
    return _times(inside, _inverse(base, budget), budget)


def _ratio(above: Fraction, below: Fraction) -> Fraction:
    return above / below


def _angle(tree: Tree, budget: Budget) -> tuple[Fraction | None, Value]:
    """The argument in half turns, if it is a rational multiple of pi."""
    found = _value(tree, budget)
    if not found.above:
        return Fraction(0), found
    if found.below == ONE and list(found.above) == [(((1, "pi"), Fraction(1)),)]:
        return next(iter(found.above.values())), found
    return None, found


def _sine_of(turns: Fraction) -> Poly | None:
    turns %= 2
    sign = -1 if turns >= 1 else 1
    turns %= 1
    turns = min(turns, 1 - turns)
    squares = {Fraction(0): (0, 1), Fraction(1, 6): (1, 4), Fraction(1, 4): (1, 2), Fraction(1, 3): (3, 4)}
    squares[Fraction(1, 2)] = (1, 1)
    if turns not in squares:
        return None
    root = exact.root_of(Fraction(*squares[turns]), 2)
    return {monomial: sign * coefficient for monomial, coefficient in root.items()}


def _trigonometric(head: str) -> Callable[[list[Tree], Budget], Value]:
    def rule(args: list[Tree], budget: Budget) -> Value:
        turns, found = _angle(args[0], budget)
        sine = None if turns is None else _sine_of(turns)
        cosine = None if turns is None else _sine_of(turns + Fraction(1, 2))
        if sine is None or cosine is None:
            return _opaque(head, [found])
        above, below = {
            "sin": (sine, ONE), "cos": (cosine, ONE), "tan": (sine, cosine), "cot": (cosine, sine),
            "sec": (ONE, cosine), "csc": (ONE, sine),
        }[head]  # fmt: skip
        return _times(Value(above, ONE), _inverse(Value(below, ONE), budget), budget)

    return rule


def _unknown(head: str) -> Callable[[list[Tree], Budget], Value]:
    return lambda args, budget: _opaque(head, [_value(arg, budget) for arg in args])


_RULES: dict[str, Callable[[list[Tree], Budget], Value]] = {
    "+": _sum, "*": _product, "juxt": _product, "/": _quotient, "neg": _negative, "^": _power, "root": _root,
    "deg": _degrees, "!": _factorial, "binom": _binomial, "gcd": _of_whole(math.gcd), "lcm": _of_whole(math.lcm),
    "mod": _of_whole(lambda a, b: a % b if b else _zero()), "max": _of_rational(max), "min": _of_rational(min),
    "floor": _of_rational(math.floor), "ceil": _of_rational(math.ceil), "abs": _of_rational(abs),
    "ln": _natural_logarithm, "log": _logarithm,
    **{head: _trigonometric(head) for head in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{head: _unknown(head) for head in ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh")},
}  # fmt: skip


def _zero() -> int:
    raise Undefined("division by zero")
