"""Exact sums of products: rational combinations of roots, constants, letters and functions that stay as they are.

Contract: a `Poly` maps a monomial to its rational coefficient; a monomial is a sorted tuple of (generator, exponent).
Generators: ``(0, p)`` the root of the prime p, with exponents between 0 and 1; ``(1, name)`` pi, e and logarithms of
primes; ``(2, "i")``; ``(3, letter)``; ``(4, text)`` a function of something that is not known further. Products of
roots of distinct primes are linearly independent over the rationals, so over generators of the kinds 0 to 3 a
polynomial is zero only if it is empty. Work is counted: `TooLarge` is raised beyond `MAX_WORK` steps or `MAX_BITS`.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

MAX_WORK = 20_000
MAX_BITS = 40_000
TRIAL_DIVISORS = 2_000

Generator = tuple[int, int | str]
Monomial = tuple[tuple[Generator, Fraction], ...]
Poly = dict[Monomial, Fraction]


class Undecided(ValueError):
    """Too large, or beyond exact arithmetic: equality is not known here."""


class TooLarge(Undecided):
    """Beyond the caps: no answer that anybody writes is that large."""


class Undefined(ValueError):
    """There is no such number: 0/0, the difference of infinities."""


@dataclass(slots=True)
class Budget:
    """Steps left for one comparison."""

    left: int = field(default=MAX_WORK)

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooLarge("too much work for exact arithmetic")


def constant(value: Fraction) -> Poly:
    return {(): value} if value else {}


def generator(kind: int, name: int | str, exponent: Fraction = Fraction(1)) -> Poly:
    return {(((kind, name), exponent),): Fraction(1)}


def rational(poly: Poly) -> Fraction | None:
    """The value of a polynomial without generators."""
    if not poly:
        return Fraction(0)
    return poly.get(()) if len(poly) == 1 else None


def add(one: Poly, two: Poly, budget: Budget, sign: int = 1) -> Poly:
    budget.spend(len(two))
    total = dict(one)
    for monomial, coefficient in two.items():
        value = total.get(monomial, Fraction(0)) + sign * coefficient
        if value:
            total[monomial] = _sized(value)
        else:
            total.pop(monomial, None)
    return total


def multiply(one: Poly, two: Poly, budget: Budget) -> Poly:
    budget.spend(len(one) * len(two) * 4)
    total: Poly = {}
    for left, a in one.items():
        for right, b in two.items():
            monomial, factor = _product(left, right)
            value = total.get(monomial, Fraction(0)) + _sized(a * b * factor)
            if value:
                total[monomial] = _sized(value)
            else:
                total.pop(monomial, None)
    return total


def raised(poly: Poly, exponent: int, budget: Budget) -> Poly:
    """A whole, non-negative power."""
    value = rational(poly)
    if value is not None:
        return constant(power_of(value, exponent))
    if len(poly) > 1 and exponent > 200:
        raise TooLarge("a large power of a sum")
    result, base = constant(Fraction(1)), poly
    while exponent:
        if exponent & 1:
            result = multiply(result, base, budget)
        exponent >>= 1
        if exponent:
            base = multiply(base, base, budget)
    return result


def power_of(value: Fraction, exponent: int) -> Fraction:
    """A whole power of a rational. Raises TooLarge beyond `MAX_BITS`, Undefined for 0 to a power below 1."""
    if value == 0 and exponent <= 0:
        raise Undefined("a power of zero that is not defined")
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if abs(value) != 1 and value != 0 and bits * abs(exponent) > MAX_BITS:
        raise TooLarge("a number with too many digits")
    return value**exponent if value not in (1, -1, 0) else Fraction(value if exponent % 2 or value != -1 else 1)


def inverse_monomial(poly: Poly) -> Poly:
    """One over a single term."""
    ((monomial, coefficient),) = poly.items()
    factor = 1 / coefficient
    result: list[tuple[Generator, Fraction]] = []
    for (kind, name), exponent in monomial:
        if kind == 0:  # p^-e = p^(1-e) / p
            result.append(((kind, name), 1 - exponent))
            factor /= int(name)
        elif kind == 2:  # 1/i = -i
            result.append(((kind, name), exponent))
            factor = -factor
        else:
            result.append(((kind, name), -exponent))
    return {tuple(result): _sized(factor)}


def _product(left: Monomial, right: Monomial) -> tuple[Monomial, Fraction]:
    if not left or not right:
        return left or right, Fraction(1)
    exponents = dict(left)
    for key, exponent in right:
        exponents[key] = exponents.get(key, Fraction(0)) + exponent
    factor = Fraction(1)
    for key in list(exponents):
        kind, name = key
        if kind == 0 and exponents[key] >= 1:
            factor *= int(name)
            exponents[key] -= 1
        elif kind == 2 and exponents[key] >= 2:
            factor = -factor
            exponents[key] -= 2
        if not exponents[key]:
            del exponents[key]
    return tuple(sorted(exponents.items(), key=_key)), factor


def _key(item: tuple[Generator, Fraction]) -> tuple[int, str]:
    return item[0][0], str(item[0][1])


def _sized(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooLarge("a number with too many digits")
    return value


def factors(number: int) -> dict[int, int]:
    """Prime factors of a positive integer. Raises Undecided if a part above the trial divisors stays unknown."""
    found: dict[int, int] = {}
    for divisor in _divisors():
        if divisor * divisor > number:
            break
        while number % divisor == 0:
            found[divisor] = found.get(divisor, 0) + 1
            number //= divisor
    if number > 1:
        if number >= TRIAL_DIVISORS**2:
            raise Undecided("a number whose factors are not known")
        found[number] = found.get(number, 0) + 1
    return found


def _divisors() -> Iterable[int]:
    yield 2
    yield from range(3, TRIAL_DIVISORS, 2)


def root_of(value: Fraction, degree: int) -> Poly:
    """The real root of a rational (odd degrees), the principal one (even degrees)."""
    if value == 0:
        return {}
    if value < 0:
        inner = root_of(-value, degree)
        if degree % 2:
            return {monomial: -coefficient for monomial, coefficient in inner.items()}
        if degree != 2:
            raise Undecided("an even root of a negative number")
        return multiply(inner, generator(2, "i"), Budget())
    whole = _whole_root(value.numerator, degree), _whole_root(value.denominator, degree)
    if whole[0] is not None and whole[1] is not None:
        return constant(Fraction(whole[0], whole[1]))
    coefficient = Fraction(1)
    monomial: dict[Generator, Fraction] = {}
    for part, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, count in factors(part).items():
            exponent = Fraction(sign * count, degree)
            outside = exponent.numerator // exponent.denominator
            coefficient *= Fraction(prime) ** outside
            if exponent != outside:
                monomial[(0, prime)] = exponent - outside
    return {tuple(sorted(monomial.items(), key=_key)): coefficient}


def _whole_root(number: int, degree: int) -> int | None:
    low, high = 0, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= number:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == number else None
