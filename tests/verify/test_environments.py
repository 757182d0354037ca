"""Environments of the library `verifiers`, by the shape that its releases 0.1 and 0.2 document.

Run: pytest tests/verify/test_environments.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.types import Message, Problem, Sample, Verdict
from selfimprove.verify import VerifierPool
from tests.verify.support import collect

# What the library gives an environment, in small; the reward functions are as people write them.
SOURCE = """
class Parser:
    def parse_answer(self, completion):
        return completion[-1]["content"].rpartition("####")[2].strip()

class Rubric:
    def __init__(self, funcs, weights, parser):
        self.funcs, self.weights, self.parser, self.class_objects = funcs, weights, parser, {"parser": parser}

class RubricGroup:
    def __init__(self, rubrics):
        self.rubrics = rubrics

class SingleTurnEnv:
    max_turns = 1
    def __init__(self, rubric):
        self.rubric = rubric

class MultiTurnEnv(SingleTurnEnv):
    max_turns = 10

async def correct(parser, completion, answer, **kwargs):
    if completion[0]["content"] == "boom":
        raise RuntimeError("no reward today")
    assert kwargs["state"]["prompt"][0]["role"] == "user" and kwargs["level"] == 3
    return 1.0 if parser.parse_answer(completion) == answer else 0.0

def short(completion):
    return float(len(completion[0]["content"]) < 20)

def watched(completion) -> float:
    raise AssertionError("a metric without weight is not asked")

def ranked(completions, answers):
    return [0.0] * len(completions)

def load_environment(share=0.25, kind="single"):
    parser = Parser()
    if kind == "groups":
        return SingleTurnEnv(Rubric([ranked], [1.0], parser))
    rubric = RubricGroup([Rubric([correct, watched], [1 - share, 0.0], parser), Rubric([short], [share], parser)])
    return MultiTurnEnv(rubric) if kind == "many" else SingleTurnEnv(rubric)
"""
PROBLEM = Problem("p", (Message("user", "2+2?"),), "4", None, "sums", {"level": 3})


def judged(folder: Path, *texts: str, **args: object) -> list[Verdict]:
    (folder / "env.py").write_text(SOURCE)
    config = {"name": f"verifiers:{folder}/env.py:load_environment", "args": args, "threshold": 0.7, "retries": 0}
    samples = [Sample(f"s/{i}", "p", i, "", "2+2?", [], text, [1], "stop", i, "") for i, text in enumerate(texts)]
    with VerifierPool(config, workers=1) as pool:
        pool.check()
        pool.submit(1, [(PROBLEM, sample) for sample in samples])
        return collect(pool)[1]


def test_a_rubric_judges_unchanged(tmp_path: Path) -> None:
    right, long, wrong, boom = judged(tmp_path, "so #### 4", "thus it is " + "so " * 20 + "#### 4", "#### 5", "boom")
    assert (right.outcome, right.score) == ("pass", 1.0)
    assert (long.outcome, long.score) == ("pass", 0.75)
    assert (wrong.outcome, wrong.score) == ("fail", 0.25)
    assert boom.outcome == "error" and "no reward today" in boom.reason


def test_its_own_arguments(tmp_path: Path) -> None:
    (wrong,) = judged(tmp_path, "#### 5", share=0.9)
    assert (wrong.outcome, wrong.score) == ("pass", 0.9)


@pytest.mark.parametrize(("kind", "words"), [("many", "has several turns"), ("groups", "scores whole groups")])
def test_what_cannot_judge_one_answer_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        judged(tmp_path, "x", kind=kind)
