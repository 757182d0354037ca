"""Recipes and verifiers that are missing, broken or misbehave: named with file and line, and nothing judged is lost.

Run: pytest tests/e2e/test_bad_plugins.py
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TooManyErrors
from tests.e2e.misuse import PROBLEMS, calls, command, create, finished, kept, refused, rows, run

RECIPE = """
import random
from dataclasses import dataclass

from selfimprove import Demonstration, Message, PreferencePair, demonstrations, passed

PROMPT = (Message("text", "1+1="),)


@dataclass(frozen=True)
class Options:
    samples: int = 2


def mine(round, config: Options):
"""
LINE = RECIPE.count("\n") + 1  # of a body's beginning
GOOD = "return round.train(demonstrations(round.attempt(n=config.samples), passed()))"


def recipe(folder: Path, body: str) -> None:
    (folder / "r.py").write_text(RECIPE + textwrap.indent(body, "    ") + "\n")


# -- recipes ---------------------------------------------------------------------------------------------------------

RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "raises": (
        "groups = round.attempt(n=2)\nraise KeyError('boom')",
        ("r.py:mine' failed in round 1: ", f"r.py:{LINE + 1}: KeyError: 'boom'", "the same command continues"),
    ),
    "raises in a view": ("return round.attempt(view=lambda p: p.nope)", (f"r.py:{LINE}: AttributeError", "nope")),
    "calls a verb wrongly": ("return round.train([], tart=1)", (f"r.py:{LINE}: TypeError", "'tart'")),
    "returns nothing": (
        "round.attempt(n=2)",
        ("returned NoneType; it must return a Policy", "return round.train(...)"),
    ),
    "two steps of one name": (
        "round.attempt(n=2)\nround.attempt(n=2)",
        ("round 1: two steps are called 'attempt'", "give the second one its own name=..."),
    ),
    "no samples": ("return round.attempt(n=0)", ("round 1, step attempt: n is 0", "at least one")),
    "a view of numbers": ("return round.attempt(view=lambda p: 3)", ("the view of problem", "is 3", "returns a text")),
    "no problems": ("return round.attempt([])", ("round 1, step attempt: there is no problem to ask",)),
    "rows that are none": (
        "return round.train([{'prompt': 'a'}])",
        ("a training row is a Demonstration or", "not dict"),
    ),
    "rows of two kinds": (
        "return round.train([Demonstration(PROMPT, 'b'), PreferencePair(PROMPT, 'c', 'd')])",
        ("rows of one kind: Demonstration and then PreferencePair",),
    ),
    "an unknown policy": (
        "return round.train([Demonstration(PROMPT, 'b')], start='bset')",
        ("no policy called 'bset'; there are initial, base, previous, best",),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_that_misbehave(tmp_path: Path, name: str) -> None:
    body, expected = RECIPES[name]
    recipe(tmp_path, body)
    create(tmp_path, recipe={"name": "r.py:mine"})
    refused(run(tmp_path), 2, *expected)
    before = kept(tmp_path / "runs/c")
    recipe(tmp_path, GOOD)
    finished(tmp_path)
    assert before and before.items() <= kept(tmp_path / "runs/c").items()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def mine(round, config:\n", ("r.py:1: not valid Python: '(' was never closed")),
        ("import nonsense_lib\ndef mine(round, config): pass\n", ("r.py:1: ModuleNotFoundError", "'nonsense_lib'")),
        ("def mein(round, config): pass\n", ("r.py defines no 'mine' - did you mean 'mein'?",)),
        ("def mine(round): pass\n", ("'mine' is not a recipe", "with a frozen dataclass")),
        ("mine = 3\n", ("3 is not a recipe: a recipe is `def name(round, config: Config)`",)),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path: Path, source: str, expected: tuple[str, ...]) -> None:
    create(tmp_path, recipe={"name": "r.py:mine"})
    (tmp_path / "r.py").write_text(source)
    refused(run(tmp_path), 2, "c.yaml:11:3: recipe: ", *expected)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_is_not_deterministic_is_found_out_when_it_is_resumed(tmp_path: Path) -> None:
    recipe(tmp_path, "return round.train([Demonstration(PROMPT, str(random.random()))])")
    create(tmp_path, recipe={"name": "r.py:mine"})
    assert run(tmp_path, SELFIMPROVE_FAILPOINT="train.before:1:kill").code == -9
    before = kept(tmp_path / "runs/c")
    refused(run(tmp_path), 4, "rounds/001/train/examples", "a recipe must be deterministic: use round.rng")
    assert kept(tmp_path / "runs/c") == before


def test_an_edited_recipe_file_is_blamed_by_the_step_it_changes(tmp_path: Path) -> None:
    recipe(tmp_path, GOOD)
    create(tmp_path, recipe={"name": "r.py:mine"})
    assert run(tmp_path, SELFIMPROVE_FAILPOINT="examples.written:1:kill").code == -9
    before = kept(tmp_path / "runs/c")
    recipe(tmp_path, GOOD.replace("n=config.samples", "n=config.samples, temperature=0.3"))
    refused(run(tmp_path), 2, "rounds/001/attempt/samples", "sampling.temperature: 1.0 -> 0.3", "undo the change")
    assert kept(tmp_path / "runs/c") == before
    recipe(tmp_path, GOOD)
    finished(tmp_path)


# -- verifiers -------------------------------------------------------------------------------------------------------


def judge(folder: Path, body: str, **options: Any) -> None:
    """A project whose verifier is ``body``; few gate problems, so that what always fails fails soon.

    Not audited: some of these judge by what no gold answer has.
    """
    source = "import math\nimport os\nimport time\nfrom pathlib import Path\n\n\ndef judge(problem, sample):\n"
    (folder / "v.py").write_text(source + textwrap.indent(body, "    ") + "\n")
    verifier = {"name": "v.py:judge", "workers": 1, "retries": 0, "audit": "off", **options}
    create(folder, verifier=verifier, data={"gate": 2, "report": 2})


def repair(folder: Path) -> None:
    (folder / "v.py").write_text("def judge(problem, sample):\n    return True\n")


VERIFIERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "raises": ("raise KeyError('boom')", ("commonest: KeyError (2)", "'boom'", "v.py:8")),
    "is not a number": ("return math.nan", ("commonest: not-finite (2)", "the score is nan")),
    "returns nothing": ("return None", ("commonest: bad-return (2)", "returns bool, float or Verdict", "not None")),
    "returns a number": ("return 0.5", ("commonest: no-threshold (2)", "set verifier.threshold")),
    "hangs": ("time.sleep(60)", ("commonest: timeout (2)", "no verdict after 0.3 s", "raise verifier.timeout_s")),
    "ends its process": ("os._exit(3)", ("commonest: crash (2)", "ended with exit code 3")),
    "exits": ("raise SystemExit(3)", ("commonest: SystemExit (2)",)),
}


@pytest.mark.parametrize("name", VERIFIERS)
def test_verifiers_that_never_judge(tmp_path: Path, name: str) -> None:
    body, expected = VERIFIERS[name]
    judge(tmp_path, body, timeout_s=0.3)
    for _ in range(2):  # the second time too: what was written down of the first must not let it through
        refused(run(tmp_path), TooManyErrors.exit_code, "could not judge 2 of 2 samples (100%", *expected)
    drawn, before = calls(tmp_path), samples(tmp_path)
    assert drawn == 2 and before
    repair(tmp_path)
    finished(tmp_path)
    assert before.items() <= samples(tmp_path).items(), "the samples drawn are judged, not drawn again"


def samples(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in kept(folder / "runs/c").items() if "/samples/" in name}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, ("c.yaml:15:3: verifier.name: no file 'v.py'",)),
        ("def juge(problem, sample): pass\n", ("v.py defines no 'judge' - did you mean 'juge'?",)),
        ("def judge(problem, sample:\n", ("v.py:1: not valid Python",)),
        ("import nonsense_lib\ndef judge(problem, sample): pass\n", ("v.py:1: ModuleNotFoundError", "nonsense_lib")),
        ("judge = 3\n", ("v.py:judge' is a int, not a function",)),
        ("def judge(problem): return True\n", ("v.py:judge'(problem)", "too many positional arguments")),
        ("import os\nos._exit(3)\ndef judge(problem, sample): pass\n", ("cannot be loaded", "exit code 3")),
    ],
)
def test_verifiers_that_cannot_be_loaded(tmp_path: Path, source: str | None, expected: tuple[str, ...]) -> None:
    create(tmp_path, verifier={"name": "v.py:judge"})
    if source is not None:
        (tmp_path / "v.py").write_text(source)
    refused(run(tmp_path), 2, *expected)
    assert calls(tmp_path) == 0 and not (tmp_path / "runs/c/run.json").exists(), "nothing was drawn or begun"
    repair(tmp_path)
    finished(tmp_path)


def test_an_unknown_argument_of_a_verifier(tmp_path: Path) -> None:
    judge(tmp_path, "return True", args={"strict": True})
    refused(run(tmp_path), 2, "verifier.args.strict: unknown argument of 'v.py:judge'")


@pytest.mark.parametrize(
    ("body", "error"),
    [("raise KeyError('boom')", "KeyError"), pytest.param("time.sleep(9)", "timeout", marks=pytest.mark.slow)],
)
def test_a_few_errors_are_counted_apart_and_never_trained_on(tmp_path: Path, body: str, error: str) -> None:
    first = 'if problem.text in ("2+4=", "5+4="):\n'
    judge(tmp_path, f"{first}    {body}\nreturn sample.index == 0", timeout_s=0.5, max_error_share=0.5)
    finished(tmp_path)
    status = command(tmp_path, "status", "runs/c", "--json").envelope["data"]
    counts = status["rounds"][0]
    shown = command(tmp_path, "show", "runs/c", "1/attempt", "--limit", "999", "--json").envelope["data"]["samples"]
    erred = [row for row in shown if row["outcome"] == "error"]
    assert {row["prompt"] for row in erred} == {"2+4=", "5+4="} and {row["error"] for row in erred} == {error}
    assert counts["errors"] == len(erred) == 4
    assert counts["passed"] == counts["failed"] == (counts["sampled"] - 4) // 2 == 18
    assert not any(row["trained"] for row in erred) and sum(row["trained"] for row in shown) == counts["trained"]


def test_more_time_for_a_slow_verifier_is_enough(tmp_path: Path) -> None:
    judge(tmp_path, "time.sleep(0.6 * (problem.text == '2+4='))\nreturn True", timeout_s=0.3, max_error_share=0)
    refused(run(tmp_path), 8, "commonest: timeout (2)", "raise verifier.timeout_s")
    before = samples(tmp_path)
    finished(tmp_path, "verifier.timeout_s=30")
    counts = command(tmp_path, "status", "runs/c", "--json").envelope["data"]["rounds"][0]
    assert (counts["errors"], counts["passed"]) == (0, counts["sampled"])
    assert before.items() <= samples(tmp_path).items()


def test_an_error_outside_the_verifier_is_judged_again_once_its_cause_is_gone(tmp_path: Path) -> None:
    judge(tmp_path, f"if Path({str(tmp_path / 'down')!r}).exists():\n    raise ConnectionError('down')\nreturn True")
    (tmp_path / "down").touch()
    refused(run(tmp_path), 8, "commonest: ConnectionError (2)", "down")
    (tmp_path / "down").unlink()
    finished(tmp_path)
    status = command(tmp_path, "status", "runs/c", "--json").envelope["data"]
    assert status["base"]["accuracy"]["n"] == 2 and status["base"]["accuracy"]["value"] == 1.0


def test_problems_without_answers(tmp_path: Path) -> None:
    create(tmp_path)
    bare = [{"prompt": problem["prompt"]} for problem in PROBLEMS]
    (tmp_path / "problems.jsonl").write_text(rows(problems=bare))
    found = run(tmp_path)
    refused(found, 8, "has no answer: answer_match needs a usable answer column")
    before, drawn = samples(tmp_path), calls(tmp_path)
    (tmp_path / "problems.jsonl").write_text(rows())
    finished(tmp_path)
    assert drawn and before.items() <= samples(tmp_path).items(), "answers re-judge, and sample nothing again"


def test_a_breaker_as_json(tmp_path: Path) -> None:
    judge(tmp_path, "raise KeyError('boom')")
    body = json.loads(command(tmp_path, "run", "c.yaml", "--progress", "none", "--json").out)
    assert (body["exit_code"], body["error"]["code"]) == (8, "too_many_errors")
    assert "KeyError" in body["error"]["message"] and "correct the verifier" in body["error"]["hint"]
