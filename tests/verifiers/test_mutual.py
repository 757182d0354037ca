"""Programs and self-written tests that rank each other. Run: pytest tests/verifiers/test_mutual.py"""

# ruff: noqa: E501 - programs stand whole on their lines

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selfimprove.verifiers.mutual import mutual

from selfimprove.sandbox import written
from selfimprove.types import Problem, Sample, messages

PROBLEM = Problem("p", messages("Write a function.\ndef triple(n):"), None, {"entry_point": "triple"})
RIGHT = "```python\ndef triple(n):\n    return {}\n\nassert triple(2) == 6\nassert triple(-1) == -3\n```"
WRONG = "```python\ndef triple(n):\n    return n\n\nassert triple(2) == 2\n```"


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"s/{i}", "p", i, "", "", [], text, [], "stop", i, "") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def judge() -> Iterator[mutual]:
    if sys.platform != "linux":
        pytest.skip("the sandbox needs Linux")
    made = mutual(at_least=0.99)
    yield made
    made.sandbox.close()


def test_agreement_of_the_many_outranks_a_program_that_agrees_with_itself(judge: mutual) -> None:
    found = judge(PROBLEM, samples(RIGHT.format("3 * n"), WRONG, RIGHT.format("n + n + n"), "no program", ""))
    assert [v.outcome for v in found] == ["pass", "fail", "pass", "fail", "fail"]
    assert found[0].score == found[2].score > found[1].score > found[3].score == 0
    assert found[0].steps == (1.0, 0.0, 1.0), "one test of each sample in turn"
    assert found[1].reason == "rank 3 of 5: 1 of 3 tests"


def test_only_the_best_are_kept(judge: mutual) -> None:
    best = mutual(keep=1)
    best.sandbox = judge.sandbox
    found = best(PROBLEM, samples(WRONG, RIGHT.format("3 * n"), RIGHT.format("n * 3")))
    assert [v.outcome for v in found] == ["fail", "pass", "fail"], "the first of equals"


def test_tests_of_a_model_never_run_as_code(judge: mutual, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    evil = f"def triple(n): return 3 * n\nassert triple(open({str(trace)!r}, 'w')) == 3\nassert triple(1) == [x for x in ()]"
    (verdict,) = judge(PROBLEM, samples(evil))
    assert verdict.outcome == "fail" and verdict.reason == "no sample wrote a test" and not trace.exists()


def test_a_problem_without_a_function_is_an_error_of_the_problem(judge: mutual) -> None:
    with pytest.raises(ValueError, match="problem 'q' names no function"):
        judge(Problem("q", messages("Do it."), None), samples(WRONG))


@pytest.mark.parametrize("options", [{"keep": 0}, {"damping": 1.0}, {"max_tests": 0}])
def test_wrong_options(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="from 1 on"):
        mutual(**options)  # type: ignore[arg-type]


def test_what_counts_as_a_test() -> None:
    text = (
        "assert f(1) == 2\n  assert 3 == f(2), 'why'\nassert candidate([1, {'a': (2,)}], -1) == None\nassert f(1) == 2\n"
        "assert f(x) == 2\nassert f(n=1) == 2\nassert g(1) == 2\nassert f(1)\nassert f(1) < 3\nassert f(1) == f(1)\n"
        "assert f(1) is True\nassert f(" + "(" * 300 + "1) == 2"
    )
    assert written.pairs(text, "f") == [([1], 2), ([2], 3), ([[1, {"a": (2,)}], -1], None), ([1], True)]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for line in (text, f"assert f({text}) == {text}", f"assert f({text}) == 1"):
        written.pairs(line, "f")
