"""The helper process of `selfimprove.answers.symbolic`: ``python -m selfimprove.answers.algebra OWNER``.

Contract: it imports the computer algebra system once, then forks a child for every question (a line of JSON on standard
input) and answers with one line: ``same``, ``different`` or ``undecided``. A child has a wall limit, a processor limit
and a memory limit, and is killed from outside when its time is up. The helper itself never touches an expression, so no
question can slow down or fill up the next. Expressions are built from our own trees, node by node: no text is parsed
or evaluated. It ends with its owner.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

from selfimprove.processes import end_with_parent

DIGITS = 50
POINTS = 3


def main(owner: int) -> None:
    end_with_parent(owner=owner)
    devnull = os.open(os.devnull, os.O_RDWR)
    questions, answers = os.dup(0), os.dup(1)
    os.dup2(devnull, 0)
    os.dup2(devnull, 1)
    import sympy  # the cost of a start, paid once

    assert sympy.Integer(1) == 1
    os.write(answers, b"ready\n")
    with os.fdopen(questions, "rb") as lines:
        for line in lines:
            os.write(answers, _asked(line, questions, answers) + b"\n")


def _asked(line: bytes, *ours: int) -> bytes:
    """The answer of a child to one question, or ``undecided`` when its time is up or it died."""
    question = json.loads(line)
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(question, writing, (reading, *ours))
    os.close(writing)
    answer = b""
    left = question["limit_s"] - (time.monotonic() - began)
    if select.select([reading], [], [], max(0.0, left))[0]:
        answer = os.read(reading, 64)
    os.close(reading)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return answer or b"undecided"


def _in_child(question: dict[str, Any], writing: int, ours: tuple[int, ...]) -> None:
    """Never returns."""
    try:
        for descriptor in ours:
            os.close(descriptor)
        _limit(question["limit_s"], question["memory_mb"])
        os.write(writing, decide(question["one"], question["two"], question["proportional"]).encode())
    finally:
        os._exit(0)


def _limit(limit_s: float, memory_mb: int) -> None:
    import resource

    seconds = int(limit_s) + 2
    for which, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory_mb * 2**20)):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def decide(one: Any, two: Any, proportional: bool) -> str:
    """``same`` if proved, ``different`` if a point shows it, else ``undecided``."""
    import sympy

    left, right = build(one), build(two)
    if proportional:  # equations: the two sides' differences may differ by a number
        quotient = sympy.simplify(left / right)
        return "same" if quotient.is_number and quotient.is_finite and quotient != 0 else "different"
    difference = left - right
    if difference.has(sympy.nan, sympy.zoo, sympy.oo):
        return "undecided"
    if _differs_somewhere(difference):
        return "different"
    if difference.is_number:
        return "same" if difference == 0 or sympy.simplify(difference) == 0 or difference.equals(0) else "undecided"
    ways = (sympy.expand, sympy.simplify, lambda d: sympy.simplify(sympy.expand(d, trig=True)), sympy.trigsimp)
    for way in ways:
        if way(difference) == 0:
            return "same"
    return "undecided"


def _differs_somewhere(difference: Any) -> bool:
    """Whether the difference is clearly not zero at some point in the open positive (0, 1) or beyond."""
    import sympy

    letters = sorted(difference.free_symbols, key=str)
    for turn in range(POINTS if letters else 1):
        place = {
            letter: sympy.Rational(3 + 7 * number + 5 * turn, 11 - 3 * turn) for number, letter in enumerate(letters)
        }
        there = difference.subs(place)
        found = there.evalf(DIGITS, maxn=400)
        if found.is_number and found.is_finite and abs(found) > sympy.Float(10) ** (10 - DIGITS):
            return True
    return False


def build(tree: Any) -> Any:
    """A sympy expression of a plain tree (`selfimprove.answers.tree.plain`)."""
    import sympy

    head, *rest = tree
    if head == "number":
        return sympy.Rational(int(rest[0]), int(rest[1]))
    if head == "symbol":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infinity": sympy.oo}
        return constants[rest[0]] if rest[0] in constants else sympy.Symbol(rest[0])
    return _operation(head, [build(part) for part in rest])


def _operation(head: str, args: list[Any]) -> Any:
    import sympy

    if head in ("+", "*", "juxt"):
        return (sympy.Add if head == "+" else sympy.Mul)(*args)
    same_name = ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "gcd", "lcm", "binomial", "floor"]
    if head in same_name:
        return getattr(sympy, head)(*args)
    others: dict[str, Any] = {
        "/": lambda a, b: a / b, "^": lambda a, b: a**b, "neg": lambda a: -a, "!": sympy.factorial, "abs": sympy.Abs,
        "root": lambda n, a: sympy.real_root(a, n) if n.is_odd and a.is_number else a ** (1 / n), "ceil": sympy.ceiling,
        "log": lambda base, a: sympy.log(a) / sympy.log(base), "ln": sympy.log, "binom": sympy.binomial,
        "deg": lambda a: a * sympy.pi / 180, "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan,
        "max": sympy.Max, "min": sympy.Min, "mod": sympy.Mod,
    }  # fmt: skip
    return others[head](*args)


if __name__ == "__main__":
    main(int(sys.argv[1]))
