"""How many labels are wrong at least. Run: pytest tests/audit/test_noise.py"""

from __future__ import annotations

from selfimprove.audit.noise import label_noise
from selfimprove.types import Problem, messages


def test_refused_golds_and_contradictions_are_noise() -> None:
    problems = [Problem(f"p{n}", messages(f"{n}?"), str(n)) for n in range(8)]
    twice = [Problem("a", messages("Twice?"), "1"), Problem("b", messages("Twice?"), "2")]
    found = label_noise([*problems, *twice], ["p3"])
    assert found["share"] == 0.2 and found["low"] < 0.2 < found["high"] and found["n"] == 10
    assert found["gold_failed"] == 1 and len(found["contradicting"]) == 1
    assert label_noise(problems, [])["share"] == 0
