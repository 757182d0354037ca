"""Puzzles judged by their package's scorers, in a sandbox. Run: pytest tests/verifiers/test_puzzle_score.py"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selfimprove.verifiers.puzzle_score import final, puzzle_score

from selfimprove.data import load
from selfimprove.sandbox import puzzles
from selfimprove.types import Problem, Sample, Verdict, messages

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux"),
    pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None, reason="needs pip install reasoning-gym"),
]
TASKS = (
    "chain_sum",
    "countdown",
    "n_queens",
    "knights_knaves",
    "spiral_matrix",
    "simple_equations",
    "string_insertion",
)


@pytest.fixture(scope="module")
def judge() -> Iterator[puzzle_score]:
    made = puzzle_score(time_limit_s=2.0)
    yield made
    made.sandbox.close()


def asked(judge: puzzle_score, problem: Problem, text: str) -> Verdict:
    return judge(problem, Sample("s", problem.id, 0, "", "", [], text, [], "stop", 0, ""))


@pytest.mark.parametrize("task", TASKS)
def test_right_answers_pass_and_others_fail(judge: puzzle_score, task: str) -> None:
    problems = load("reasoning_gym", {"n": 5, "seed": 3, "task": task})
    for problem in problems:
        for text in (f"So <answer>{problem.answer}</answer>", str(problem.answer)):
            verdict = asked(judge, problem, text)
            assert verdict.outcome == "pass", verdict.reason
        for text in ("", "<answer></answer>", "I cannot tell.", "<answer>17, or 4</answer>"):
            assert asked(judge, problem, text).outcome == "fail"


def test_another_solution_is_as_good(judge: puzzle_score) -> None:
    entry = {"question": "?", "answer": "1+2*3", "metadata": {"numbers": [1, 2, 3], "target": 7, "expression": "1+2*3"}}
    problem = Problem("p", messages("?"), "1+2*3", {"task": "countdown", "entry": entry})
    assert asked(judge, problem, "<answer>3*2+1</answer>").outcome == "pass"
    assert asked(judge, problem, "#### 2*3+1").outcome == "pass"
    assert asked(judge, problem, "<answer>7</answer>").outcome == "fail"
    assert asked(judge, problem, "<answer>9**9**9**9</answer>").outcome == "fail"


CODE = [
    "__import__('os')._exit(0)", "exec('x=1')", "(lambda: 1)()", "[c for c in ()]", "print(1)", "S('__import__')",
    "().__class__", "a.b", "sin('1+1')", "[print][0](1)", "N('1')", "eval\n('1')", "x = 3", "1; 2", "getattr(a, b)",
]  # fmt: skip
VALUES = [
    "1 + 2*(3 - 4)",
    "2*sin(x) + C",
    "[1, 2, 3]",
    "['A', 'B']",
    "0x3eb2",
    "ABC",
    "x**2 - 3*x",
    "3.5",
    "1/(2*x)",
    "-7",
]


@pytest.mark.parametrize("text", CODE)
def test_code_is_not_shown_to_a_scorer_that_would_run_it(judge: puzzle_score, text: str) -> None:
    assert not puzzles.is_plain(text)
    (problem,) = load("reasoning_gym", {"n": 1, "task": "countdown"})
    verdict = asked(judge, problem, f"<answer>{text}</answer>")
    assert verdict.outcome == "fail" and "neither plain arithmetic" in verdict.reason


@pytest.mark.parametrize("text", VALUES)
def test_values_are_plain(text: str) -> None:
    assert puzzles.is_plain(text)


def test_a_problem_from_elsewhere_is_named(judge: puzzle_score) -> None:
    with pytest.raises(ValueError, match="problem 'p' has no puzzle"):
        asked(judge, Problem("p", messages("?"), "1"), "1")


def test_what_the_answer_is() -> None:
    assert final("<think>#### 3</think> <answer> 1\n2 </answer>") == "1\n2"
    assert final("hence #### 2 + 2") == "2 + 2"
    assert final(r"\boxed{(1+2)*3}") == "(1+2)*3"
    assert final(" A is a knight ") == "A is a knight"


def test_where_it_judges(judge: puzzle_score) -> None:
    assert judge.facts()["isolation"] in ("namespaces", "bwrap")
    assert Path(puzzles.__file__).exists()
