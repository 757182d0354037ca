"""Answer matching against plain Math-Verify on GSM8K's mix of answers, and a bomb among many.

Contract: both see the same completions and golds, in one process, one after the other: worked solutions of GSM8K's test
split where they are at hand (``../shared/data/gsm8k``), else made ones of their form; a third right, a third a
neighbour's, a third right and spelled otherwise. Every disagreement is listed. The bomb, an equality that computer
algebra does not decide, goes through the pool among 10,000 answers. Needs ``math-verify``.

See it work: ``python -m benchmarks answers --samples 500``.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Options, Result, say

SAMPLES, MANY = 3000, 10_000
GSM8K = Path(__file__).parents[2] / "shared/data/gsm8k/test.jsonl"
BOMB = (r"\tan(x)^{30}\log(x)^{20}", r"\boxed{(\frac{\sin(x)}{\cos(x)})^{30}\cdot(\log(x^2)/2)^{20}}")


def rows(count: int) -> list[tuple[str, str]]:
    """(gold, completion) in the mix of the module's contract."""
    rng = random.Random(0)
    solved = _solutions(count, rng)
    golds = [solution.rpartition("####")[2].strip().replace(",", "") for solution in solved]
    found = []
    for place, (gold, solution) in enumerate(zip(golds, solved, strict=True)):
        spelled = [f"So it is $\\boxed{{{int(gold):,}}}$.", f"\\boxed{{{gold}.00}}", f"The answer is ${gold}."]
        said = [solution, solved[(place + 1) % count], rng.choice(spelled)][place % 3]
        found.append((gold, said))
    return found


def _solutions(count: int, rng: random.Random) -> list[str]:
    if GSM8K.is_file():
        texts = [json.loads(line)["answer"] for line in GSM8K.open()]
        return [texts[place % len(texts)] for place in range(count)]
    numbers = [rng.choice([rng.randint(1, 99), rng.randint(100, 9999)]) for _ in range(count)]
    return [f"That makes {n} - 2 = <<{n}-2={n - 2}>>{n - 2}, and {n} in all.\n#### {n}" for n in numbers]


def measure(options: Options) -> Result:
    """Pairs in turns in this process; the ratio of rates, disagreements, and what a bomb costs."""
    from selfimprove import plugins

    answer_match = plugins.resolve("verifier", "answer_match")
    asked = rows(options.samples or SAMPLES)
    cases = [_case(gold, said) for gold, said in asked]
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
        ratio = [a / b for a, b in zip(ours, theirs, strict=True)]
        result.figures.insert(0, Figure("ours / plain Math-Verify", ratio, ">= 20"))
        differ = [
            f"ours {'accepts' if a else 'refuses'}: gold {gold}, completion ...{said[-70:]!r}"
            for (gold, said), a, b in zip(asked, mine, others, strict=True)
            if a != b
        ]
        result.figures.append(Figure("disagreements", [len(differ)]))
        result.notes += differ[:10]
    else:
        result.notes.append("math-verify is not installed: pip install 'math-verify[antlr4_13_2]'")
    many = [cases[place % len(cases)] for place in range(min(MANY, 4 * len(cases)))]
    calm, struck = _through_pool(many), _through_pool([*many[1:], _case(*BOMB)])
    result.figures.append(Figure(f"{len(many):,} answers through the pool", [calm], "", "s"))
    result.figures.append(Figure("the same with a bomb among them: more by", [struck - calm], "<= 2.5", "s"))
    return result


def _case(gold: str, said: str) -> tuple[Any, Any]:
    from selfimprove.types import Problem, Sample, messages

    return Problem("p", messages("How many?"), gold), Sample("s", "p", 0, "", "", [], said, [], "stop", 0, "")


def _through_pool(cases: list[tuple[Any, Any]]) -> float:
    """Seconds of all cases in one worker, its start left out."""
    from selfimprove.verify import VerifierPool

    with VerifierPool({"name": "answer_match"}, workers=1) as pool:
        pool.check()
        began = time.perf_counter()
        for number in range(0, len(cases), 64):
            pool.submit(number, cases[number : number + 64])
        while pool.pending:
            pool.poll(1.0)
        return time.perf_counter() - began


def _math_verify(asked: list[tuple[str, str]]) -> list[bool]:
    try:
        from math_verify import parse, verify
    except ImportError:
        return []
    return [
        verify(parse(gold, parsing_timeout=None), parse(said, parsing_timeout=None), timeout_seconds=None)
        for gold, said in asked
    ]
