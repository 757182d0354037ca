"""Tests that a model wrote: calls with literal arguments and a literal result, and nothing that could be executed.

Contract: only lines ``assert entry(literals) == literal`` count (also ``is``, and with the sides changed); they become
pairs of arguments and result, which a trusted judge compares. Everything else in the text is passed over, so that no
code of a model's runs outside a cell.

See it work: ``pytest tests/verifiers/test_mutual.py``.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

MAX_CHARS = 500
_LINE = re.compile(r"^[ \t]*assert\b[^\n]*", re.M)


def pairs(text: str, entry: str) -> list[tuple[list[Any], Any]]:
    """(arguments, result) of each test of ``entry`` in ``text``, in order and without repetitions."""
    found: dict[str, tuple[list[Any], Any]] = {}
    for match in _LINE.finditer(text):
        pair = _pair(match[0].strip(), entry)
        if pair is not None:
            found.setdefault(repr(pair), pair)
    return list(found.values())


def _pair(line: str, entry: str) -> tuple[list[Any], Any] | None:
    if len(line) > MAX_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            node = ast.parse(line).body[0]
        if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare) or len(node.test.ops) != 1:
            return None
        if not isinstance(node.test.ops[0], ast.Eq | ast.Is):
            return None
        sides = (node.test.left, node.test.comparators[0])
        call, expected = sides if isinstance(sides[0], ast.Call) else sides[::-1]
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            return None
        if call.func.id not in (entry, "candidate"):
            return None
        return [ast.literal_eval(argument) for argument in call.args], ast.literal_eval(expected)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
