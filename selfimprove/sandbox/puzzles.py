"""In a cell: the scorers of the reasoning-gym package, some of which evaluate what they are given.

Contract: imported by a zygote only, where the package is imported once for all cells. An answer for a scorer that
evaluates it must be plain arithmetic or a plain list, or it is not shown to the scorer at all: what is evaluated beside
the right answer could otherwise say what it likes of itself.

See it work: ``pytest tests/verifiers/test_puzzle_score.py``.
"""

from __future__ import annotations

import inspect
import json
import keyword
import os
import re
from typing import Any

from selfimprove.sandbox.zygote import frame_read, frame_write

MAX_CHARS = 4000
_EVALUATES = re.compile(r"\b(?:eval|exec|parse_expr|sympify)\(")
_QUOTED = re.compile(r"'[^'\\\n]*'|\"[^\"\\\n]*\"")
_HEX = re.compile(r"\b0[xX][0-9a-fA-F]+\b")
_NAME = re.compile(r"[^\W\d]\w*")
_CALL = re.compile(r"([\w)\]]+)\s*\(")
_FUNCTIONS = {
    "sin", "cos", "tan", "exp", "log", "ln", "sqrt", "asin", "acos", "atan", "sinh", "cosh", "tanh",
}  # fmt: skip


def warm() -> None:
    """Import the package once, before there are cells."""
    import reasoning_gym

    for task in ("chain_sum", "countdown"):
        made = reasoning_gym.create_dataset(task, size=1, seed=0)
        made.score_answer(str(made[0]["answer"]), made[0])


def score(channel: int) -> None:
    """Answer one job, ``{"task", "entry", "answer"}``, with ``{"score"}`` or ``{"error"}``."""
    job = json.loads(frame_read(channel) or b"{}")
    made: Any = _data_set(job["task"])
    if evaluates(type(made)) and not is_plain(job["answer"]):
        reply: dict[str, Any] = {"refused": "an answer that is neither plain arithmetic nor a list"}
    else:
        try:
            reply = {"score": float(made.score_answer(job["answer"], job["entry"]))}
        except Exception as error:  # the judge says whose fault it is
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
    frame_write(channel, json.dumps(reply).encode())
    os._exit(0)


def _data_set(task: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(task, size=1, seed=0)


def evaluates(kind: Any) -> bool:
    """Whether a data set's scorer, or a function of its module that the scorer names, evaluates a text."""
    own = inspect.getsource(kind.score_answer)
    names = set(_NAME.findall(own))
    members = [*vars(kind).items(), *vars(inspect.getmodule(kind)).items()]
    functions = [value for name, value in members if name in names and inspect.isfunction(value)]
    return any(_EVALUATES.search(text) for text in (own, *map(inspect.getsource, functions)))


def is_plain(answer: str) -> bool:
    """Whether evaluating ``answer`` calls nothing but functions of numbers: no attributes, no keywords, and no texts
    beside names (a function of sympy's evaluates a text that it is given).
    """
    bare = _HEX.sub("0", _QUOTED.sub("", answer))
    names = _NAME.findall(bare)
    if len(answer) > MAX_CHARS or re.search(r"[\\:;=@'\"`{}]|\.\s*[^\W\d]|__", bare):
        return False
    if any(keyword.iskeyword(name) for name in names) or (names and _QUOTED.search(answer)):
        return False
    return all(called in _FUNCTIONS or called.isdecimal() for called in _CALL.findall(bare))
