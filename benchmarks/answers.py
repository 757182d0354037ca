"""Answer matching against plain Math-Verify on GSM8K-like answers, and a bomb among many.

Contract: both see the same completions (a gold solution's end, its neighbour's, and the number spelled otherwise) and
the same golds, in one process, one after the other. Every disagreement is listed. Needs ``math-verify``.

See it work: ``python -m benchmarks answers --samples 500``.
"""

from __future__ import annotations

import random
import time

from benchmarks.common import Figure, Options, Result, say

SAMPLES = 3000
BOMB = r"\boxed{\sin(\cos(\tan(\sin(\cos(\tan(x^{x^{x}}))))))}"


def rows(count: int) -> list[tuple[str, str]]:
    """(gold, completion): a third right, a third a neighbour's, a third right and spelled otherwise."""
    rng = random.Random(0)
    golds = [
        str(rng.choice([rng.randint(1, 99), rng.randint(100, 9999), rng.randint(10_000, 999_999)]))
        for _ in range(count)
    ]
    found = []
    for place, gold in enumerate(golds):
        other = golds[(place + 1) % count]
        said = [
            f"That makes {gold} in all.\n#### {gold}",
            f"That makes {other} in all.\n#### {other}",
            rng.choice([f"So it is $\\boxed{{{int(gold):,}}}$.", f"\\boxed{{{gold}.00}}", f"The answer is ${gold}."]),
        ][place % 3]
        found.append((gold, said))
    return found


def measure(options: Options) -> Result:
    """Pairs in turns in this process; the ratio of rates, disagreements, and what a bomb costs."""
    from selfimprove import plugins
    from selfimprove.types import Problem, Sample, messages

    answer_match = plugins.resolve("verifier", "answer_match")
    asked = rows(options.samples or SAMPLES)
    cases = [
        (Problem("p", messages("How many?"), gold), Sample("s", "p", 0, "", "", [], said, [], "stop", 0, ""))
        for gold, said in asked
    ]
    result, ours, theirs = Result("answers"), [], []
    mine: list[bool] = []
    others: list[bool] = []
    for turn in range(1, options.pairs + 1):
        began = time.perf_counter()
        mine = [answer_match(problem, sample).passed for problem, sample in cases]
        ours.append(len(cases) / (time.perf_counter() - began))
        began = time.perf_counter()
        others = _math_verify(asked)
        theirs.append(len(cases) / (time.perf_counter() - began) if others else 0.0)
        say(f"turn {turn}: ours {ours[-1]:,.0f} a second, Math-Verify {theirs[-1]:,.0f}")
    result.figures = [Figure("ours, answers per second", ours)]
    if others:
        result.figures.insert(
            0, Figure("ours / plain Math-Verify", [a / b for a, b in zip(ours, theirs, strict=True)], ">= 20")
        )
        differ = [(gold, said) for (gold, said), a, b in zip(asked, mine, others, strict=True) if a != b]
        result.figures.append(Figure("disagreements", [len(differ)]))
        result.notes += [f"differs: gold {gold}, completion {said!r}" for gold, said in differ[:10]]
    else:
        result.notes.append("math-verify is not installed: pip install 'math-verify[antlr4_13_2]'")
    began = time.perf_counter()
    bomb = answer_match(cases[0][0], Sample("s", "p", 0, "", "", [], BOMB, [], "stop", 0, ""))
    result.figures.append(Figure("a bomb alone", [time.perf_counter() - began], "<= 2.5", "s"))
    assert not bomb.passed
    return result


def _math_verify(asked: list[tuple[str, str]]) -> list[bool]:
    try:
        from math_verify import parse, verify
    except ImportError:
        return []
    return [
        verify(parse(gold, parsing_timeout=None), parse(said, parsing_timeout=None), timeout_seconds=None)
        for gold, said in asked
    ]
