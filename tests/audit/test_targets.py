"""Who judges which kind of cases. Run: pytest tests/audit/test_targets.py"""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.audit.targets import declared, shipped, targets
from selfimprove.errors import ConfigError


def file(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(body)
    return f"{folder}/mine.py:judge"


FUNCTION = "def judge(problem, sample): return True\n"


def test_each_kind_has_one_verifier_of_the_package() -> None:
    table = shipped()
    assert {"math", "code", "judge"} <= set(table)
    assert {kind: target.spec for kind, target in targets(None, ["math", "code"]).items()} == {
        kind: table[kind] for kind in ("math", "code")
    }


def test_a_file_says_what_it_judges(tmp_path: Path) -> None:
    spec = file(tmp_path, 'JUDGES_CASES = ("math",)\n' + FUNCTION)
    assert declared(spec) == ("math",)
    assert set(targets(spec, ["math", "code", "judge"])) == {"math"}


def test_one_that_says_nothing_gets_all_but_judges_words(tmp_path: Path) -> None:
    spec = file(tmp_path, FUNCTION)
    found = targets(spec, ["math", "code", "judge"])
    assert set(found) == {"math", "code"} and not found["math"].declared
    assert set(targets(spec, ["math", "code"], only=["code"])) == {"code"}


def test_what_it_says_must_be_kinds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="JUDGES_CASES must be a tuple of kinds"):
        declared(file(tmp_path, "JUDGES_CASES = 3\n" + FUNCTION))


def test_groups_cannot_be_audited_case_by_case(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compares the samples of a group"):
        targets(file(tmp_path, "def judge(problem, samples): return [True] * len(samples)\n"), ["math"])


def test_of_a_verifier_that_asks_a_model_its_reading_is_audited() -> None:
    found = targets("self_critique", ["math", "judge"])
    assert set(found) == {"judge"} and found["judge"].spec.endswith(":reading")
