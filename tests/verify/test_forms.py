"""Every form of verifier, through the pool. Run: pytest tests/verify/test_forms.py"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.types import Problem, Sample, Verdict, messages
from selfimprove.verify import VerifierPool
from selfimprove.verify.forms import form_of
from tests.verify.support import collect, judge, problem, sample, write

CLASS = """
class judge:
    def __init__(self, allowed=("42",)):
        self.allowed, self.asked = allowed, 0
    def __call__(self, problem, sample):
        self.asked += 1
        return sample.completion in self.allowed
"""
ASYNC = """
import asyncio, time
async def judge(problem, sample, wait=0.3):
    if sample.completion == "blocks":
        time.sleep(60)
    if sample.completion == "late":
        await asyncio.sleep(60)
    if sample.completion == "raises":
        raise KeyError("no")
    await asyncio.sleep(wait)
    return sample.completion == "right"
"""
GROUP = """
import time
from selfimprove.types import Verdict
def judge(problem, samples, **options):
    texts = [sample.completion for sample in samples]
    if "hang" in texts: time.sleep(60)
    if "raise" in texts: raise ValueError("who")
    if "short" in texts: return [True]
    return [Verdict("pass" if texts.count(t) > len(texts) / 2 else "fail", texts.count(t) / len(texts)) for t in texts]
"""
JUDGE = """
class judge:
    def questions(self, problem, samples): return []
    def verdicts(self, problem, samples, replies): return []
"""


def asked(number: int, texts: list[str]) -> list[tuple[Problem, Sample]]:
    known = Problem(f"p-{number}", messages("How many?"), "42")
    return [(known, sample(text, index=index)) for index, text in enumerate(texts)]


def outcomes(verdicts: list[Verdict]) -> list[str]:
    return [verdict.error or verdict.outcome for verdict in verdicts]


def test_a_class_is_built_once_with_its_options(tmp_path: Path) -> None:
    spec = write(tmp_path, CLASS)
    with VerifierPool({"name": spec, "args": {"allowed": ["7"]}}, workers=1) as pool:
        assert outcomes(judge(pool, ["7", "42"])) == ["pass", "fail"]
    with VerifierPool({"name": spec, "args": {"forbidden": 1}}, workers=1) as pool, pytest.raises(ConfigError) as error:
        pool.check()
    assert "forbidden" in str(error.value)


def test_async_verifiers_wait_together(tmp_path: Path) -> None:
    with VerifierPool({"name": write(tmp_path, ASYNC)}, workers=1) as pool:
        pool.check()
        began = time.monotonic()
        found = judge(pool, ["right", "wrong"] * 16)
        assert outcomes(found) == ["pass", "fail"] * 16
        assert time.monotonic() - began < 32 * 0.3 / 2
        assert all(0.29 < verdict.seconds < 5 for verdict in found)


def test_one_async_sample_costs_no_other_its_verdict(tmp_path: Path) -> None:
    config = {"name": write(tmp_path, ASYNC), "timeout_s": 1.0, "retries": 0, "args": {"wait": 0.01}}
    with VerifierPool(config, workers=1) as pool:
        found = judge(pool, ["right", "late", "raises", "blocks", "wrong", "right"])
    assert outcomes(found) == ["pass", "timeout", "KeyError", "timeout", "fail", "pass"]


def test_a_group_is_judged_whole_and_no_two_problems_together(tmp_path: Path) -> None:
    with VerifierPool({"name": write(tmp_path, GROUP), "threshold": 0.5}, workers=1) as pool:
        pool.submit(1, [*asked(1, ["a", "a", "b"]), *asked(2, ["b", "b", "a", "b"])])
        found = collect(pool)[1]
    assert outcomes(found) == ["pass", "pass", "fail", "pass", "pass", "fail", "pass"]
    assert [round(verdict.score, 2) for verdict in found] == [0.67, 0.67, 0.33, 0.75, 0.75, 0.25, 0.75]


def test_what_a_group_verifier_does_wrong_costs_that_group(tmp_path: Path) -> None:
    config = {"name": write(tmp_path, GROUP), "timeout_s": 1.0, "retries": 0}
    with VerifierPool(config, workers=1) as pool:
        pool.submit(
            1, [*asked(1, ["a", "raise"]), *asked(2, ["short", "x"]), *asked(3, ["hang", "x"]), *asked(4, ["c"])]
        )
        found = outcomes(collect(pool)[1])
    assert found == ["ValueError"] * 2 + ["bad-return"] * 2 + ["timeout"] * 2 + ["pass"]


def test_truncated_samples_are_not_shown_to_a_group_verifier(tmp_path: Path) -> None:
    with VerifierPool({"name": write(tmp_path, GROUP)}, workers=1) as pool:
        known = problem()
        items = [(known, sample("a")), (known, sample("b", index=1, finish="length")), (known, sample("a", index=2))]
        pool.submit(1, items)
        found = collect(pool)[1]
    assert [(v.outcome, v.reason, v.score) for v in found] == [
        ("pass", "", 1.0),
        ("fail", "truncated", 0.0),
        ("pass", "", 1.0),
    ]


def test_forms_are_told_from_the_source_alone(tmp_path: Path) -> None:
    forms = {
        name: form_of(write(tmp_path, text, f"{name}.py"))
        for name, text in {
            "cls": CLASS,
            "coroutine": ASYNC,
            "group": "MEMORY_MB = 4096\n" + GROUP,
            "judge": JUDGE,
        }.items()
    }
    assert [(form.kind, form.concurrent) for form in forms.values()] == [
        ("sample", False),
        ("sample", True),
        ("group", False),
        ("judge", False),
    ]
    assert forms["group"].memory_mb == 4096 and forms["cls"].memory_mb == 2048


def test_a_judge_cannot_be_loaded_into_a_worker(tmp_path: Path) -> None:
    with VerifierPool({"name": write(tmp_path, JUDGE)}, workers=1) as pool, pytest.raises(ConfigError) as error:
        pool.check()
    assert "asks a model" in str(error.value)
