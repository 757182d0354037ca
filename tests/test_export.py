"""A run's verifier and problems for an online trainer. Run: pytest tests/test_export.py"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.errors import ConfigError
from selfimprove.export import export
from selfimprove.rewards import Rewards
from selfimprove.run import execute
from selfimprove.testing import tiny_llama
from selfimprove.types import Problem, messages

SCRIPT = """
def say(messages, index, seed, policy):
    number = int(messages[0].content[1:])
    return str(0 if index < number % 5 else index + 1)
"""
VERIFIER = """
def zero(problem, sample):
    if sample.completion == "boom":
        raise OSError("no judge today")
    return sample.completion.strip() == problem.answer
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "s.py").write_text(SCRIPT)
    (tmp_path / "v.py").write_text(VERIFIER)
    rows = [{"prompt": f"p{n:03d}", "answer": "0", "key": n % 2, "level": n} for n in range(20)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole = {
        "model": {"build": "selfimprove.testing:tiny_llama", "args": {"hidden_size": 32, "layers": 1, "heads": 2}},
        "data": {"problems": "p.jsonl", "gate": 0, "report": 0},
        "recipe": {"name": "rest_em", "samples": 4},
        "verifier": {"name": "v.py:zero", "workers": 1, "audit": "off"},
        "rounds": 1,
        "sampling": {"type": "scripted", "script": "s.py:say", "max_tokens": 4},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(whole))
    execute(load_config([str(tmp_path / "c.yaml")]), tmp_path / "run", progress="none")
    return tmp_path / "run"


def test_the_rewards_are_the_verdicts(run: Path, tmp_path: Path) -> None:
    found = export(run, "trl-grpo", tmp_path / "rl")
    rows = [json.loads(line) for line in (tmp_path / "rl/problems.jsonl").open()]
    assert found["problems"] == len(rows) == 12 and found["of"] == 20, "what never or always passes stays away"
    assert {row["pass_rate"] for row in rows} == {0.25, 0.5, 0.75}
    rewards = Rewards.load(tmp_path / "rl")
    ids = [row["problem_id"] for row in rows[:4]]
    said = ["0", [{"role": "assistant", "content": "0"}], "1", "boom"]
    assert rewards(ids, said) == [1.0, 1.0, 0.0, None]
    assert rewards(ids[:1], ["0"]) == [1.0]
    with pytest.raises(ConfigError, match="no problem has the id 'x'"):
        rewards(["x"], ["0"])


def test_the_model_without_a_better_round_and_prompts_with_tools(run: Path) -> None:
    from selfimprove.export import _policy, _row
    from selfimprove.types import Message

    config = load_config([str(run)])
    (run / "rounds/001/COMMITTED.json").unlink()
    assert Path(_policy(run, config)[0], "weights.json").is_file(), "the model that the run built"
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    prompt = (Message("tools", '[{"name": "add"}]'), Message("user", "1+2?"), Message("json", json.dumps(call)))
    row = _row(Problem("p", prompt, "3"), 0.5)
    assert row["prompt"] == [{"role": "user", "content": "1+2?"}, call] and row["tools"] == [{"name": "add"}]


def test_what_cannot_be_exported(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no problem has a pass rate from 0\.9 to 0\.95"):
        export(run, "verl", tmp_path / "rl", 0.9, 0.95)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("x")
    with pytest.raises(ConfigError, match="exists and is not empty"):
        export(run, "verl", tmp_path / "full")


def test_verl_gets_its_own_form(run: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    export(run, "verl", tmp_path / "rl")
    rows = pq.read_table(tmp_path / "rl/train.parquet").to_pylist()
    assert rows[0]["prompt"][0]["role"] == "user" and rows[0]["reward_model"]["style"] == "rule"
    spec = importlib.util.spec_from_file_location("theirs", tmp_path / "rl/reward.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    truth = rows[0]["reward_model"]["ground_truth"]
    assert module.compute_score(rows[0]["data_source"], "0", truth, rows[0]["extra_info"]) == 1.0
    with pytest.raises(RuntimeError, match="could not judge"):
        module.compute_score("default", "boom", truth)


def test_rewards_of_ones_own_problems() -> None:
    problems = {"a": Problem("a", messages("2+2"), "4")}
    assert Rewards({"name": "answer_match", "workers": 1}, problems)(["a", "a"], ["#### 4", "5"]) == [1.0, 0.0]


@pytest.mark.slow
def test_grpo_runs_on_it_unchanged(run: Path, tmp_path: Path) -> None:
    found, script = export(run, "trl-grpo", tmp_path / "rl"), tmp_path / "rl/train.py"
    tiny = tiny_llama(str(tmp_path / "tiny"), hidden_size=32, layers=1, heads=2)  # the double trained no real model
    script.write_text(script.read_text().replace(found["model"], tiny))
    options = ["--max_steps", "2", "--use_cpu", "true", "--bf16", "false", "--logging_steps", "1"]
    command = [sys.executable, "train.py", *options, "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path / "rl", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'reward'" in done.stdout and (tmp_path / "out/model.safetensors").exists()
