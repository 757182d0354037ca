"""Sums of small numbers (``12+34=`` -> ``46``): enough to watch a tiny model improve, in seconds and offline.

Contract: distinct problems in an order set by ``seed``; with a larger ``n`` the same problems come first.

See it work: ``pytest tests/problems/test_arithmetic.py``.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def arithmetic(
    n: int, seed: int = 0, *, operations: str = "+-", maximum: int = 99, minimum: int = 0, digits: int = 0
) -> Iterator[dict[str, str]]:
    """Two whole numbers between ``minimum`` and ``maximum`` joined by one of ``operations`` (``+``, ``-``, ``*``).

    Rows hold ``prompt`` (``"12-34="``), ``answer`` and ``completion`` (both ``"-22"``). Raises ValueError if fewer
    than ``n`` distinct problems exist (20,000 by default), for other operations and for negative numbers.
    ``digits`` pads every number with zeros to so many digits (``"07+35="``, ``"042"`` with one more for the answer):
    aligned columns are easier for a tiny model. The known answer stays ``"42"``.
    """
    signs = "".join(dict.fromkeys(operations))
    if not signs or any(sign not in _OPERATIONS for sign in signs):
        raise ValueError(f"operations {operations!r}: use one or more of {''.join(_OPERATIONS)!r}")
    if not 0 <= minimum <= maximum:
        raise ValueError(f"minimum {minimum}, maximum {maximum}: needs 0 <= minimum <= maximum")
    width = maximum - minimum + 1
    space = len(signs) * width * width
    if not 0 <= n <= space:
        raise ValueError(f"n={n}: there are {space} such problems; lower n, raise maximum or add operations")
    return _rows(n, random.Random(seed), signs, width, minimum, digits)


def _rows(n: int, rng: random.Random, signs: str, width: int, minimum: int, digits: int) -> Iterator[dict[str, str]]:
    moved: dict[int, int] = {}  # the shuffled part of range(space): memory for n places, not for the space
    for place in range(n):
        other = rng.randrange(place, len(signs) * width * width)
        drawn = moved.get(other, other)
        moved[other] = moved.get(place, place)
        pair, sign = divmod(drawn, len(signs))
        left, right = (minimum + part for part in divmod(pair, width))
        value = _OPERATIONS[signs[sign]](left, right)
        shown = f"{value:0{digits + 1}d}" if digits else str(value)
        prompt = f"{left:0{digits}d}{signs[sign]}{right:0{digits}d}="
        yield {"prompt": prompt, "answer": str(value), "completion": shown}
