"""Reward functions of other trainers, unchanged. Run: pytest tests/verify/test_dialects.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfimprove import plugins
from selfimprove.errors import ConfigError
from selfimprove.types import Message, Problem, Sample, Verdict, messages
from selfimprove.verify import VerifierPool, verifier_digest
from selfimprove.verify.forms import form_of
from tests.verify.support import collect

TRL = '''
import re

def format_and_answer_reward(prompts, completions, answer, completion_ids=None, weight=1.0, **kwargs):
    """As in TRL's documentation: half for the form, half for the answer."""
    rewards = []
    for prompt, completion, gold, ids in zip(prompts, completions, answer, completion_ids):
        text = completion if isinstance(completion, str) else completion[0]["content"]
        if text == "boom":
            raise RuntimeError("no reward today")
        if text == "skip":
            rewards.append(None)
            continue
        match = re.search(r"\\\\boxed\\{(.*?)\\}", text)
        reward = 0.5 if match else 0.0
        if match and match.group(1) == gold:
            reward += 0.5
        assert len(ids) == 2 and kwargs["level"] == [3] * len(prompts)
        assert isinstance(prompt, str) == isinstance(completion, str)
        rewards.append(weight * reward)
    return rewards
'''
VERL = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, method="strict"):
    if data_source != "openai/gsm8k":
        raise NotImplementedError(data_source)
    answer = solution_str.rpartition("####")[2].strip()
    score = 1.0 if answer == ground_truth else 0.0
    return score if method == "strict" else {"score": score, "acc": score == 1.0, "seen": extra_info["index"]}
"""
OPENRLHF = """
def reward_func(queries, prompts, labels, **kwargs):
    import torch
    found = torch.tensor([float(q.removeprefix(p).strip() == l) for q, p, l in zip(queries, prompts, labels)])
    return {"rewards": found, "scores": found, "extra_logs": {"mean": found.mean()}}
"""


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"s/{i}", "p", i, "", "Q:", [], text, [1, 2], "stop", i, "") for i, text in enumerate(texts)]


def judged(folder: Path, spec: str, source: str, problem: Problem, *texts: str, **config: Any) -> list[Verdict]:
    (folder / "theirs.py").write_text(source)
    settings = {"name": plugins.absolute(spec, folder), "threshold": 1.0, "retries": 0, **config}
    with VerifierPool(settings, workers=1) as pool:
        pool.submit(1, [(problem, sample) for sample in samples(*texts)])
        return collect(pool)[1]


def said(found: list[Verdict]) -> list[str]:
    return [verdict.error or verdict.outcome for verdict in found]


@pytest.mark.parametrize("prompt", ["2+2?", [{"role": "user", "content": "2+2?"}]])
def test_a_trl_reward_runs_unchanged(tmp_path: Path, prompt: Any) -> None:
    problem = Problem("p", messages(prompt), "4", meta={"level": 3})
    spec = "trl:theirs.py:format_and_answer_reward"
    found = judged(tmp_path, spec, TRL, problem, r"\boxed{4}", r"\boxed{5}", "4", "skip")
    assert said(found) == ["pass", "fail", "fail", "no-score"]
    assert [verdict.score for verdict in found[:3]] == [1.0, 0.5, 0.0]
    assert said(judged(tmp_path, spec, TRL, problem, r"\boxed{4}", "boom")) == ["RuntimeError"] * 2
    assert said(judged(tmp_path, spec, TRL, problem, r"\boxed{4}", threshold=None)) == ["no-threshold"]
    assert judged(tmp_path, spec, TRL, problem, r"\boxed{4}", args={"weight": 2.0})[0].score == 2.0


def test_a_verl_score_runs_unchanged(tmp_path: Path) -> None:
    problem = Problem("p", messages("2+2?"), "4", meta={"data_source": "openai/gsm8k"})
    spec = "verl:theirs.py:compute_score"
    for args in ({}, {"method": "flexible"}):
        assert said(judged(tmp_path, spec, VERL, problem, "#### 4", "#### 5", args=args)) == ["pass", "fail"]
    other = Problem("p", messages("2+2?"), "4", task="math")
    assert said(judged(tmp_path, spec, VERL, other, "#### 4")) == ["NotImplementedError"]


def test_an_openrlhf_reward_runs_unchanged(tmp_path: Path) -> None:
    problem = Problem("p", messages("2+2?"), "4")
    settings = {"memory_mb": 16_000, "timeout_s": 60.0}
    spec = "openrlhf:theirs.py:reward_func"
    assert said(judged(tmp_path, spec, OPENRLHF, problem, " 4", "5", **settings)) == ["pass", "fail"]


def test_what_the_spec_says(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(TRL)
    spec = plugins.absolute("trl:theirs.py:format_and_answer_reward", tmp_path)
    assert spec == f"trl:{tmp_path}/theirs.py:format_and_answer_reward" and form_of(spec).kind == "group"
    here, plain = {"name": spec}, {"name": spec.removeprefix("trl:")}
    assert verifier_digest(here) != verifier_digest(plain)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/theirs.py").write_text(TRL)
    moved = {"name": spec.replace(f"{tmp_path}/", f"{tmp_path}/b/")}
    assert verifier_digest(moved) == verifier_digest(here)
    with pytest.raises(ConfigError, match="no file"):
        form_of("verl:nowhere.py:compute_score")
    with pytest.raises(ConfigError, match="defines no 'other'"):
        form_of(spec.replace("format_and_answer_reward", "other"))
    assert Message("user", "x")
