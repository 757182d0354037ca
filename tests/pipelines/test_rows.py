"""The exact training rows of two rounds of each method, worked by hand from the papers' algorithms.

Completions are scripted per round, problem and sample; nothing is mocked. Run: pytest tests/pipelines/test_rows.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.run import execute
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed
from selfimprove.store.steps import Marker, Step
from selfimprove.store.tables import read_examples
from selfimprove.types import Demonstration, PreferencePair

SCRIPT = """
import json
from pathlib import Path

SAID = json.loads((Path(__file__).parent / "said.json").read_text())
POLICIES = []


def say(messages, index, seed, policy):
    if policy not in POLICIES:
        POLICIES.append(policy)
    said = SAID[POLICIES.index(policy)][messages[-1].content][index]
    return tuple(said) if isinstance(said, list) else said
"""

PROBLEMS = [
    {"prompt": "1+1=", "answer": "2", "completion": "2"},
    {"prompt": "2+2=", "answer": "4", "completion": "4"},
    {"prompt": "3+3=", "answer": "6", "completion": "6"},
]


def run(folder: Path, recipe: dict[str, Any], said: list[dict[str, list[Any]]]) -> tuple[list[list[Any]], list[Marker]]:
    """Two rounds on the three problems; returns the rows and the policy marker of each round's training."""
    (folder / "script.py").write_text(SCRIPT)
    (folder / "said.json").write_text(json.dumps(said))
    (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, PROBLEMS)))
    config = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"problems": "problems.jsonl", "gate": 0, "report": 0},
        "recipe": recipe,
        "verifier": {"name": "answer_match", "workers": 1},
        "rounds": 2,
        "sampling": {"type": "scripted", "script": "script.py:say"},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    assert execute(load_config([str(folder / "config.yaml")]), folder / "run", progress="none").exit_code == 0
    files = RunFiles(folder / "run")
    found = dict(committed(files))
    rows = []
    for index in (1, 2):
        key = f"rounds/{index:03d}/train/examples"
        path = Step(files, key, {}, None, found[key]).path(found[key].outputs[0])
        rows.append(sorted(map(plain, read_examples(path))))
    return rows, [found[f"rounds/{index:03d}/train/policy"] for index in (1, 2)]


def plain(row: Any) -> tuple[str, ...]:
    prompt = row.prompt[-1].content
    if isinstance(row, PreferencePair):
        return (prompt, row.chosen, row.rejected)
    assert isinstance(row, Demonstration)
    return (prompt, row.completion)


def digest_of_model(folder: Path) -> str:
    return dict(committed(RunFiles(folder / "run")))["setup/model"].digest


def test_rest_em_keeps_distinct_correct_samples_up_to_the_cap_and_starts_from_the_base(tmp_path: Path) -> None:
    rows, policies = run(
        tmp_path,
        {"name": "rest_em", "samples": 4, "cap": 2},
        [
            {"1+1=": ["2", "2", "3", "2"], "2+2=": ["4", "04", "5", "4.0"], "3+3=": ["5", ["6", "length"], "7", "6"]},
            {"1+1=": ["3", "3", "3", "3"], "2+2=": ["5", "4", "4", "4"], "3+3=": ["6", "6.0", "06", "6"]},
        ],
    )
    # Round 1: the second "2" is a duplicate; "4.0" is over the cap of 2; the truncated "6" is never kept.
    assert rows[0] == [("1+1=", "2"), ("2+2=", "04"), ("2+2=", "4"), ("3+3=", "6")]
    # Round 2 replaces round 1's data: 1+1 has no right sample now and is gone.
    assert rows[1] == [("2+2=", "4"), ("3+3=", "6"), ("3+3=", "6.0")]
    assert [marker.inputs["start"] for marker in policies] == [digest_of_model(tmp_path)] * 2


def test_star_rationalises_what_it_failed_and_trains_without_the_hint(tmp_path: Path) -> None:
    rows, policies = run(
        tmp_path,
        {"name": "star"},
        [
            {
                "1+1=": ["2"],
                "2+2=": ["5"],
                "3+3=": ["7"],
                "2+2= (4)": ["so 4"],
                "3+3= (6)": ["8"],
            },
            {"1+1=": ["3"], "2+2=": ["4"], "3+3=": ["6"], "1+1= (2)": ["2"]},
        ],
    )
    # Round 1: 1+1 at once; 2+2 with the hint, stored under the bare prompt; 3+3 fails both times.
    assert rows[0] == [("1+1=", "2"), ("2+2=", "so 4")]
    assert rows[1] == [("1+1=", "2"), ("2+2=", "4"), ("3+3=", "6")]
    # From the original model every round, with 20 % more steps each time (40, then 48).
    assert [marker.inputs["start"] for marker in policies] == [digest_of_model(tmp_path)] * 2
    assert [json.loads(marker.inputs["args"])["max_steps"] for marker in policies] == [40, 48]


def test_rft_keeps_one_sound_solution_per_list_of_equations_and_adds_the_human_ones(tmp_path: Path) -> None:
    rows, policies = run(
        tmp_path,
        {"name": "rft", "samples": 3},
        [
            {
                "1+1=": ["<<1+1=2>> #### 2", "so <<1+1=2>> it is #### 2", "<<1+1=3>> #### 2"],
                "2+2=": ["<<2*2=4>> #### 4", "<<2+2=4>> #### 4", "<<2+2=4>> #### 5"],
                "3+3=": ["7", "8", "9"],
            },
            {"1+1=": ["3", "3", "3"], "2+2=": ["5", "5", "5"], "3+3=": ["<<3+3=6>> #### 6", "6", "6"]},
        ],
    )
    # Round 1: the unsound <<1+1=3>> goes; of two texts with the equation 1+1=2 one stays; two equations for 2+2 stay.
    human = [("1+1=", "2"), ("2+2=", "4"), ("3+3=", "6")]
    assert rows[0] == sorted(
        [*human, ("1+1=", "<<1+1=2>> #### 2"), ("2+2=", "<<2*2=4>> #### 4"), ("2+2=", "<<2+2=4>> #### 4")]
    )
    # Round 2: "6" without equations stands for itself and equals the human solution.
    assert rows[1] == sorted([*human, ("3+3=", "<<3+3=6>> #### 6")])
    assert json.loads(policies[0].inputs["args"])["num_train_epochs"] == 3


def test_spin_prefers_the_human_answer_over_a_window_of_two_rounds(tmp_path: Path) -> None:
    rows, policies = run(
        tmp_path,
        {"name": "spin", "last_beta": 5.0},
        [
            {"1+1=": ["3"], "2+2=": ["4"], "3+3=": [["66", "length"]]},
            {"1+1=": ["2"], "2+2=": ["5"], "3+3=": ["7"]},
        ],
    )
    # Round 1: 2+2 was answered as the human did, 3+3 was cut off: neither makes a pair.
    assert rows[0] == [("1+1=", "2", "3")]
    # Round 2: its own pairs and round 1's.
    assert rows[1] == [("1+1=", "2", "3"), ("2+2=", "4", "5"), ("3+3=", "6", "7")]
    first, second = policies
    assert first.inputs["start"] == first.inputs["reference"] == digest_of_model(tmp_path)
    assert second.inputs["start"] == second.inputs["reference"] == first.digest
    assert [json.loads(marker.inputs["args"])["beta"] for marker in policies] == [0.1, 5.0]


def test_sft_trains_on_the_human_solutions_from_the_previous_policy(tmp_path: Path) -> None:
    rows, policies = run(tmp_path, {"name": "sft"}, [])
    assert rows[0] == rows[1] == [("1+1=", "2"), ("2+2=", "4"), ("3+3=", "6")]
    assert policies[1].inputs["start"] == policies[0].digest


def test_nothing_survived_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    wrong = {p["prompt"]: ["9"] for p in PROBLEMS}
    with pytest.raises(AssertionError):
        run(tmp_path, {"name": "rest_em", "samples": 1}, [wrong])
    result = execute(load_config([str(tmp_path / "config.yaml")]), tmp_path / "run", progress="none")
    assert result.exit_code == 9 and "no sample survived" in result.message
