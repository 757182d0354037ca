"""Published answers and a collection of honest and cheating ones, where they are at hand: pytest -k shared"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from selfimprove.verifiers.answer_match import answer_match

from selfimprove.types import Problem, Sample, messages

SHARED = Path(__file__).parents[2] / "../shared"
CASES = SHARED / "verifier_cases/cases.jsonl"
GSM8K = SHARED / "data/gsm8k"


def sample(completion: str) -> Sample:
    return Sample("s", "p", 0, "", "", [], completion, [], "stop", 0, "")


def cases() -> list[dict[str, Any]]:
    if not CASES.is_file():
        return []
    return [case for line in CASES.read_text().splitlines() if (case := json.loads(line))["kind"] == "math"]


@pytest.mark.skipif(not CASES.is_file(), reason="the shared cases are not here")
def test_no_cheat_passes_and_no_honest_answer_fails() -> None:
    wrong = []
    for case in cases():
        problem = Problem("p", messages(case["task"]["prompt"]), case["task"]["gold"])
        began = time.monotonic()
        passed = answer_match(problem, sample(case["completion"])).passed
        if passed != case["must_accept"] or time.monotonic() - began > 4:
            wrong.append(case["id"])
    assert cases() and not wrong


@pytest.mark.skipif(not GSM8K.is_dir(), reason="GSM8K is not here")
def test_gsm8k_answers_accept_themselves_and_reject_a_neighbours() -> None:
    rows = [json.loads(line) for name in ("train", "test") for line in (GSM8K / f"{name}.jsonl").open()]
    golds = [row["answer"].rpartition("####")[2].strip() for row in rows]
    problems = [Problem("p", messages(row["question"]), gold) for row, gold in zip(rows, golds, strict=True)]
    numbers = [gold.replace(",", "") for gold in golds]
    for place, problem in enumerate(problems):
        other = next(at % len(rows) for at in range(place + 1, place + 99) if numbers[at % len(rows)] != numbers[place])
        assert answer_match(problem, sample(rows[place]["answer"])).passed, golds[place]
        assert answer_match(problem, sample(f"#### {golds[place]}")).passed, golds[place]
        assert answer_match(problem, sample(rows[other]["answer"])).outcome == "fail", golds[place]
    assert len(rows) == 8792
