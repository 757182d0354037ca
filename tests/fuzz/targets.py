"""What reads texts that a model wrote: each target takes any text and may only return, or raise what it documents."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from selfimprove import plugins
from selfimprove.judging import parsing, showing
from selfimprove.sandbox import extract, puzzles, values, written
from selfimprove.types import Problem, Sample, messages

LIMIT_S = 5.0
ANSWER_MATCH, INSTRUCTIONS, NO_REPETITION = (
    plugins.resolve("verifier", name) for name in ("answer_match", "instructions", "no_repetition")
)
GOLDS = (
    "4",
    r"\frac{1}{2}",
    "x^2 - 1",
    "(1, 2]",
    r"\{1, 2, 3\}",
    "B",
    "12 cm",
    "50%",
    "the red fox",
    "3:30",
    "x = 3, y = 4",
)


def _sample(text: str) -> Sample:
    return Sample("s", "p", 0, "", "", [], text, [], "stop", 0, "")


def answers(text: str) -> None:
    gold = GOLDS[len(text) % len(GOLDS)]
    for said in (text, f"\\boxed{{{text}}}", f"#### {text}", f"The answer is ${text}$."):
        ANSWER_MATCH(Problem("p", messages("Find x. (A) 1 (B) 2"), gold), _sample(said))


def golds(text: str) -> None:
    try:
        ANSWER_MATCH(Problem("p", messages("Find x."), text), _sample("So it is \\boxed{12}."))
    except ValueError:  # a gold answer that says nothing is the problem's fault
        return


def programs(text: str) -> None:
    extract.blocks(text)
    written.pairs(text, "f")
    written.pairs(f"assert f({text}) == {text}", "f")
    puzzles.is_plain(text)


def judges(text: str) -> None:
    parsing.binary(text)
    parsing.choice(text)
    for read in (parsing.score, parsing.rating, parsing.json_score):
        found = read(text, 0, 10)
        assert found is None or 0 <= found <= 10
    key = showing.delimiter("1", text)
    assert showing.block(text, key).count(key) == 2
    showing.hopeless("What?", text)


def crossing(text: str) -> None:
    try:
        values.unpack(values.loads(text.encode(errors="replace")), lambda body: body)
    except values.BadValue:
        return


def formats(text: str) -> None:
    problem = Problem("p", messages("?"), "4", [{"id": "detectable_format:json_format"}, {"id": "startend:quotation"}])
    INSTRUCTIONS(problem, _sample(text), loose=True)
    NO_REPETITION(problem, _sample(text))


VALUES = (
    [1, -2.5, None, True, "a", "\u00e9", b"x", bytearray(b"y"), (1, "b"), {3: [4]}, {5}, frozenset({6}), range(3)],
    [1 << 80, 2j, int, Fraction(1, 3), Decimal("1.5"), date(2024, 2, 29), timedelta(3), deque([1])],
)
"""What may cross: seeds of `crossing`."""

TARGETS: dict[str, Callable[[str], None]] = {
    target.__name__: target for target in (answers, golds, programs, judges, crossing, formats)
}


def within_limit(target: Callable[[str], None], text: str) -> None:
    """One call, and that it ended in time."""
    began = time.monotonic()
    target(text)
    assert time.monotonic() - began < LIMIT_S, "too slow"
