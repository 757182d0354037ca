"""The verbs a recipe may use besides the ones the shipped methods need. Run: pytest tests/pipelines/test_verbs.py"""

from __future__ import annotations

import json
from pathlib import Path

from selfimprove.config import load_config
from selfimprove.run import execute
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed

RECIPE = '''
from dataclasses import dataclass
from selfimprove import Demonstration, Policy, Round, demonstrations, first

CALLS = []

@dataclass(frozen=True)
class AskingConfig:
    crash: str = ""

def asking(round: Round, config: AskingConfig) -> Policy:
    """Asks for a plan, samples with it in view, remembers what it did."""
    plans = round.ask([f"plan {p.text}" for p in round.problems], parse=str.upper)
    plan = dict(zip([p.id for p in round.problems], plans))
    groups = round.attempt(view=lambda p: plan[p.id] + p.text, n=2)
    CALLS.append((plans, dict(round.memory), round.rng.random(), len(groups)))
    round.memory["seen"] = round.memory.get("seen", 0) + len(groups)
    return round.train(demonstrations(groups, first(1)), start="previous")
'''
SCRIPT = """
LOG = []
def say(messages, index, seed, policy):
    LOG.append(messages[-1].content)
    text = messages[-1].content
    return f"do {text[5:]}" if text.startswith("plan ") else "2"
"""


def test_ask_view_memory_and_rng(tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(RECIPE)
    (tmp_path / "script.py").write_text(SCRIPT)
    rows = [{"prompt": "1+1=", "answer": "2"}, {"prompt": "0+2=", "answer": "2"}]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"problems": "problems.jsonl", "gate": 0, "report": 0},
        "recipe": "asking.py:asking",
        "verifier": {"name": "answer_match", "workers": 1},
        "rounds": 2,
        "sampling": {"type": "scripted", "script": "script.py:say"},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    loaded = load_config([str(tmp_path / "config.yaml")])
    assert execute(loaded, tmp_path / "run", progress="none").exit_code == 0

    from selfimprove import plugins

    calls = plugins.resolve("recipe", f"{tmp_path}/asking.py:asking").__globals__["CALLS"]
    (plans, before, first_number, groups), (_, remembered, second_number, _) = calls
    assert sorted(plans) == ["DO 0+2=", "DO 1+1="] and groups == 2
    assert before == {} and remembered == {"seen": 2}
    assert first_number != second_number, "every round has its own randomness"
    asked = plugins.resolve("script", f"{tmp_path}/script.py:say").__globals__["LOG"]
    assert "DO 1+1=1+1=" in asked, "the view was shown to the policy"
    found = dict(committed(RunFiles(tmp_path / "run")))
    assert found["rounds/001/ask/samples"].counts["sampled"] == 2
    assert found["rounds/002"].data["memory"] == {"seen": 4}
