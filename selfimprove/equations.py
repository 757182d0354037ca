"""Equations written in solutions as ``<<48/2=24>>``: to tell solutions apart, and to check their arithmetic.

Contract: pure functions over text that a model wrote. Nothing is executed: the text is parsed, and only numbers,
``+ - * / // %``, powers and brackets are understood, in exact fractions of bounded size.

See it work: ``pytest tests/test_select.py -k equation``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

_EQUATION = re.compile(r"<<([^<>]*)>>")
_ALLOWED = re.compile(r"[0-9.+\-*/%() ]+")
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_MAX_CHARS = 200
_MAX_BITS = 2_000
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def normalised(text: str) -> str:
    """The text with every run of white space made one blank: what "the same completion" means by default."""
    return " ".join(text.split())


def equations(text: str) -> list[str]:
    """What stands between ``<<`` and ``>>``, blanks removed, in order."""
    return ["".join(found.split()) for found in _EQUATION.findall(text)]


def equation_key(text: str) -> str:
    """The list of equations as one string; of a text without equations, the normalised text.

    Two solutions with the same equations reason alike, whatever their words. Source: Yuan et al. 2023, arXiv
    2308.01825.
    """
    return "|".join(equations(text)) or normalised(text)


def equations_hold(text: str, tolerance: float = 1e-3, at_least: int = 0) -> bool:
    """True if each equation's sides differ by less than ``tolerance`` and there are ``at_least`` so many.

    An equation that cannot be understood does not hold. A text without equations holds vacuously unless
    ``at_least`` says otherwise. Source: Yuan et al. 2023, arXiv 2308.01825, with Python's ``eval`` left out.
    """
    found = equations(text)
    return len(found) >= at_least and all(_holds(equation, Fraction(tolerance)) for equation in found)


def _holds(equation: str, tolerance: Fraction) -> bool:
    sides = [_value(side) for side in equation.split("=")]
    first, *others = sides
    return first is not None and len(others) > 0 and all(o is not None and abs(first - o) < tolerance for o in others)


def _value(text: str) -> Fraction | None:
    """The exact value, or None for what is not arithmetic, is too large or divides by zero."""
    text = text.replace("$", "").replace(",", "")
    if len(text) > _MAX_CHARS or not _ALLOWED.fullmatch(text):
        return None
    try:
        return _evaluate(ast.parse(_LEADING_ZEROS.sub("", text), mode="eval").body)
    except (SyntaxError, ArithmeticError, ValueError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _bounded(Fraction(repr(node.value)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _evaluate(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BINARY:
            return _bounded(Fraction(_BINARY[type(node.op)](left, right)))
    raise ValueError("not arithmetic")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    """A whole power whose result is known to be small before it is computed."""
    if exponent.denominator != 1 or abs(exponent) > _MAX_BITS:
        raise ValueError("not a whole power")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent.numerator) > _MAX_BITS:
        raise ValueError("too large")
    return Fraction(base**exponent.numerator)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise ValueError("too large")
    return value
