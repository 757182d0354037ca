"""A case file is read whole or refused line by line; what ships is valid. Run: pytest tests/audit/test_cases.py"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfimprove.audit.cases import corpus, read_cases, repeated, trial_of
from selfimprove.errors import ConfigError, PreconditionError
from tests.audit.support import case, plain_cases, write_cases

SHARED = Path(__file__).parents[3] / "shared/verifier_cases/cases.jsonl"
CODE = {"prompt": "Write f.", "entry_point": "f", "tests": ["assert f() == 1"]}


def test_a_math_case_becomes_a_problem_and_a_finished_sample(tmp_path: Path) -> None:
    (trial,) = read_cases([write_cases(tmp_path, [case("a", "It is 7.", False, gold="42")])])
    assert (trial.problem.text, trial.problem.answer) == ("What is asked by a?", "42")
    assert (trial.sample.completion, trial.sample.truncated) == ("It is 7.", False)
    assert not trial.must_accept


def test_a_code_case_hands_over_its_tests_and_its_time_limit() -> None:
    row = {**case("a", "x", True), "kind": "code", "task": CODE, "time_limit_s": 2}
    problem = trial_of(row).problem
    assert problem.text == "Write f."
    assert problem.tests == {"entry_point": "f", "tests": ["assert f() == 1"], "time_limit_s": 2.0}


def test_a_judge_case_keeps_its_whole_task() -> None:
    task = {"question": "What?", "reference": "42"}
    problem = trial_of({**case("a", "x", True), "kind": "judge", "task": task}).problem
    assert (problem.text, problem.answer, problem.tests) == ("What?", "42", task)


def test_a_kind_of_ones_own_gives_the_problem_as_it_is() -> None:
    task = {"prompt": "Say it.", "tests": {"n": 3}, "meta": {"level": 1}}
    problem = trial_of({**case("a", "x", True), "kind": "words", "task": task}).problem
    assert (problem.tests, problem.meta, problem.task) == ({"n": 3}, {"level": 1}, "words")


def test_a_completion_may_hold_what_no_text_file_can(tmp_path: Path) -> None:
    (trial,) = read_cases([write_cases(tmp_path, [case("a", "4\ud8002\0", False)])])
    assert trial.completion == "4\ud8002\0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"must_accept": "yes"}, "must_accept must be true or false"),
        ({"must_acept": True}, "unknown key 'must_acept' - did you mean 'must_accept'?"),
        ({"completion": None}, "completion must be a text"),
        ({"id": " "}, "id must be a text that is not empty"),
        ({"task": []}, "task must be an object"),
        ({"task": {"prompt": "x"}}, "a math task needs task.gold"),
        ({"task": {"gold": "x"}}, "task.prompt must be a text"),
        ({"kind": "code"}, "a code task needs one of"),
        ({"kind": "code", "task": {"prompt": 1, "pytest": "x"}}, "task.prompt must be a text"),
        ({"kind": "judge", "task": {}}, "a judge task must not be empty"),
        ({"kind": "maths"}, "task.gold means nothing"),
        ({"slow": 1}, "slow must be true or false"),
        ({"time_limit_s": 0}, "time_limit_s must be a number of seconds above 0"),
        ({"time_limit_s": True}, "time_limit_s must be a number of seconds above 0"),
        ({"side_effect": "here"}, "side_effect must be an absolute path"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_place(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    file = write_cases(tmp_path, [case("a", "42", True), {**case("b", "42", True), **change}])
    with pytest.raises(ConfigError) as error:
        read_cases([file])
    assert f"{file}:2: {said}" in str(error.value)


@pytest.mark.parametrize("line", ["{", "[1]", "[" * 100_000, '"\\ud8"', "\xff"])
def test_no_line_breaks_the_reader(tmp_path: Path, line: str) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(ConfigError, match=r"cases\.jsonl:1: "):
        read_cases([file])


def test_all_faults_are_said_at_once_and_missing_keys_by_name(tmp_path: Path) -> None:
    file = write_cases(tmp_path, [{"id": "a"}, {"id": "b"}])
    with pytest.raises(ConfigError) as error:
        read_cases([file])
    assert str(error.value).count("no kind, category, task, completion, must_accept") == 2


def test_an_id_is_used_once_over_all_files(tmp_path: Path) -> None:
    first = write_cases(tmp_path, [case("a", "42", True)], "first.jsonl")
    second = write_cases(tmp_path, [case("a", "7", False)], "second.jsonl")
    with pytest.raises(ConfigError, match=r"second\.jsonl:1: id 'a' was used at .*first\.jsonl:1"):
        read_cases([first, second])


def test_no_file_and_no_cases(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"none.jsonl"):
        read_cases([tmp_path / "none.jsonl"])
    with pytest.raises(ConfigError, match="holds no cases"):
        read_cases([write_cases(tmp_path, [])])


def test_equal_cases_are_found() -> None:
    one = {**case("a", "42", True), "task": {"prompt": "What?", "gold": "42"}}
    trials = [
        trial_of(one),
        trial_of({**one, "id": "b", "must_accept": False}),
        trial_of({**one, "id": "c", "completion": "x"}),
    ]
    assert [[trial.id for trial in group] for group in repeated(trials)] == [["a", "b"]]


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared cases are not here")
def test_the_shared_cases_are_read() -> None:
    assert len(read_cases([SHARED])) == sum(1 for _ in SHARED.open())


def test_the_corpus_that_ships_is_large_fair_and_explained() -> None:
    trials = read_cases(corpus())
    kinds = Counter(trial.kind for trial in trials)
    assert len(trials) >= 400
    assert {"code", "math", "judge"} <= set(kinds)
    assert sum(trial.must_accept for trial in trials) >= len(trials) / 3
    assert not [trial.id for trial in trials if not trial.why.strip()]
    assert not [[trial.id for trial in group] for group in repeated(trials) if len({t.must_accept for t in group}) > 1]


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared cases are not here")
def test_the_corpus_that_ships_is_our_own() -> None:
    theirs = {json.dumps([trial.problem.text, trial.completion]) for trial in read_cases([SHARED])}
    ours = {trial.id: json.dumps([trial.problem.text, trial.completion]) for trial in read_cases(corpus())}
    assert not [identity for identity, content in ours.items() if content in theirs]


def test_plain_cases_are_balanced() -> None:
    assert sum(one["must_accept"] for one in plain_cases(3)) == 3
