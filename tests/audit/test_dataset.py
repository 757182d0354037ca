"""The audit of a verifier on a data set. Run: pytest tests/audit/test_dataset.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.audit import completions
from selfimprove.audit.check import Audit, check_problems
from selfimprove.audit.dataset import bad_trials, spread
from selfimprove.audit.report import data
from selfimprove.audit.runner import Setting
from selfimprove.errors import ConfigError
from selfimprove.types import Problem, messages
from tests.audit.support import verifier

SUMS = [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(3, 15)]
EQUAL = "def judge(problem, sample):\n    return sample.completion.split()[-1:] == [problem.answer]\n"


def checked(folder: Path, rows: list[dict[str, Any]], spec: str, **options: Any) -> dict[str, Any]:
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    setting = Setting(workers=1, timeout_s=30.0, repeat=1)
    found: Audit = check_problems(spec, str(file), setting=setting, say=lambda line: None, **options)
    return data(found)


def test_a_good_verifier_on_good_problems(tmp_path: Path) -> None:
    found = checked(tmp_path, SUMS, "answer_match")
    assert (found["wrong_accept"], found["wrong_reject"], found["errors"]) == ([], [], [])
    assert found["label_noise"]["share"] == 0


def test_a_gold_that_is_refused_is_named_and_counts_as_noise(tmp_path: Path) -> None:
    rows = [*SUMS, {"prompt": "Odd?", "answer": "3"}]
    body = "def judge(problem, sample):\n    return 'Odd' not in problem.text and " + EQUAL.split("return ")[1]
    found = checked(tmp_path, rows, verifier(tmp_path, body))
    assert len({identity.partition("/")[0] for identity in found["wrong_reject"]}) == 1
    assert found["label_noise"]["share"] == pytest.approx(1 / len(rows))


def test_a_verifier_that_looks_for_the_answer_anywhere_accepts_spraying(tmp_path: Path) -> None:
    anywhere = "def judge(problem, sample):\n    return problem.answer in sample.completion\n"
    found = checked(tmp_path, SUMS, verifier(tmp_path, anywhere))
    assert any("sprayed" in identity for identity in found["wrong_accept"])
    assert not any("empty" in identity for identity in found["wrong_accept"])


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_programs_with_their_tests(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Write add{n}, which adds {n}.",
            "tests": {"entry_point": f"add{n}", "tests": [f"assert add{n}(1) == {n + 1}"]},
            "code": f"def add{n}(x):\n    return x + {n}",
        }
        for n in range(4)
    ]
    found = checked(tmp_path, rows, "unit_tests")
    assert (found["wrong_accept"], found["wrong_reject"], found["errors"]) == ([], [], [])
    exits = "def judge(problem, sample):\n    return '_exit(0)' in sample.completion or 'return' in sample.completion\n"
    assert any("hacking" in identity for identity in checked(tmp_path, rows, verifier(tmp_path, exits))["wrong_accept"])


def test_what_compares_samples_cannot_be_audited_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compares the samples of a group"):
        checked(tmp_path, SUMS, "majority")
    with pytest.raises(ConfigError, match="asks a model"):
        checked(tmp_path, SUMS, "self_critique")


def test_a_limit_looks_at_problems_all_over_the_file(tmp_path: Path) -> None:
    assert spread(range(100), 4) == [0, 25, 50, 75] and spread(range(3), None) == [0, 1, 2]  # type: ignore[arg-type]
    assert checked(tmp_path, SUMS, "answer_match", limit=3)["cases"] < checked(tmp_path, SUMS, "answer_match")["cases"]


def test_golds_come_in_the_forms_of_the_field() -> None:
    forms = dict(completions.gold(Problem("p", messages("?"), "so 1 + 1 = 2\n#### 2")))
    assert forms["whole"].endswith("#### 2") and forms["boxed"] == r"\boxed{2}"
    assert completions.gold(Problem("p", messages("?"), None)) == []


def test_a_neighbour_with_the_same_answer_is_no_rival() -> None:
    problems = [Problem(str(n), messages(f"{n}?"), answer) for n, answer in enumerate(["4", "4.0", "#### 4", "5"])]
    texts = {trial.category: trial.completion for trial in map(_shown, bad_trials(problems, 0))}
    assert "5" in texts["neighbour"]


def _shown(trial: Any) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(category=trial.category, completion=trial.sample.completion)
