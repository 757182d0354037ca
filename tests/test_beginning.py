"""A run does not start with a verifier that refuses its own gold answers. Run: pytest tests/test_beginning.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.run import execute
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed
from tests.test_judged import config

VERIFIERS = """
def wrong(problem, sample): return sample.completion == "0" and problem.text.endswith("x")
def anything(problem, sample): return True
def errs(problem, sample): raise OSError("no answers today")
def fine(problem, sample): return sample.completion == problem.answer
class placed:
    def __call__(self, problem, sample): return fine(problem, sample)
    def facts(self): return {"isolation": "namespaces", "level": 7}
class homeless:
    def __call__(self, problem, sample): return True
    def facts(self):
        from selfimprove.errors import PreconditionError
        raise PreconditionError("no cell to put it in", hint="build one")
def in_form(problem, sample): return sample.completion == "\\\\boxed{%s}" % problem.answer
"""


def run(folder: Path, name: str, **options: Any) -> dict[str, Any]:
    """The record of the audit."""
    path = config(folder, {"name": f"w.py:{name}", "workers": 1, "retries": 0, **options}, problems=40)
    (folder / "w.py").write_text(VERIFIERS)
    (folder / "script.py").write_text("def say(messages, index, seed, policy): return '0'\n")
    execute(load_config([str(path)]), folder / "run", progress="none")
    return next((dict(m.data) for key, m in committed(RunFiles(folder / "run")) if key.startswith("setup/audit-")), {})


def test_refused_gold_answers_stop_the_run_before_it_samples(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError) as error:
            run(tmp_path, "wrong")
        assert "does not accept the gold answers of " in str(error.value) and " of 32 problems" in str(error.value)
    assert "verifier.audit=warn" in error.value.hint
    assert not list((tmp_path / "run").glob("rounds/*"))


def test_the_refusal_can_be_overridden_and_is_recorded(tmp_path: Path) -> None:
    found = run(tmp_path, "wrong", audit="warn")
    assert found["audit"] == "warn" and found["gold_failed"]


def test_it_can_be_left_out(tmp_path: Path) -> None:
    assert run(tmp_path, "wrong", audit="off") == {}


def test_any_usual_form_of_the_gold_answer_will_do(tmp_path: Path) -> None:
    assert run(tmp_path, "in_form")["gold_failed"] == {}


def test_what_accepts_anything_is_told_of_and_starts(tmp_path: Path) -> None:
    found = run(tmp_path, "anything")
    assert found["audited"] == 32 and set(found["accepted_bad"]) >= {"empty"}
    assert run(tmp_path, "anything") == found, "audited once"


def test_a_verifier_that_errs_is_the_error_budgets_affair(tmp_path: Path) -> None:
    from selfimprove.errors import TooManyErrors

    with pytest.raises(TooManyErrors, match="no answers today"):
        run(tmp_path, "errs")


def test_a_good_verifier_has_a_clean_record(tmp_path: Path) -> None:
    found = run(tmp_path, "fine")
    assert (found["audited"], found["gold_failed"], found["gold_errors"], found["accepted_bad"]) == (32, {}, {}, {})
    assert json.loads(json.dumps(found)) == found


def test_where_a_verifier_judges_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "placed")["facts"] == {"isolation": "namespaces", "level": "7"}
    (tmp_path / "other").mkdir()
    assert run(tmp_path / "other", "placed", audit="off")["facts"]["isolation"] == "namespaces"


def test_a_machine_that_lacks_what_it_needs_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"no cell to put it in \(build one\)") as raised:
        run(tmp_path, "homeless")
    assert raised.value.exit_code == 5 and not (tmp_path / "run" / "rounds").exists()
