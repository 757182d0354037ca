"""Wrong words, configurations, data and models: refused by name before anything is done, and nothing is left behind.

Run: pytest tests/e2e/test_bad_inputs.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.misuse import CONFIG, PROBLEMS, command, create, finished, refused, rows, run

TEXT = json.dumps(CONFIG, indent=1)


def where(text: str, key: str) -> str:
    """``c.yaml:line:column`` of a key."""
    before = text[: text.index(f'"{key}"')]
    return f"c.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


# -- usage -----------------------------------------------------------------------------------------------------------

USAGE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown command": (("rum", "c.yaml"), ("no command 'rum'. Did you mean 'run'?", "hint: selfimprove --help")),
    "unknown option": (("run", "c.yaml", "--run-dri", "x"), ("--run-dri", "Did you mean one of: '--run-dir'")),
    "unknown subcommand": (("config", "validat", "c.yaml"), ("'validat'. Did you mean 'validate'?",)),
    "no configuration": (("run",), ("Missing argument", "CONFIG", "selfimprove run --help")),
    "overrides alone": (("run", "rounds=2"), ("no configuration given", "quickstart")),
    "missing file": (("run", "d.yaml"), ("d.yaml: no such file or preset - did you mean 'c.yaml'?",)),
    "a directory that is no run": (("run", "."), ("a directory without config.resolved.yaml: not a run",)),
    "two places": (("run", "c.yaml", "--name", "a", "--run-dir", "b"), ("--run-dir", "--name", "give one of them")),
    "a path as name": (("run", "c.yaml", "--name", "a/b"), ("'a/b' is not a name", "--run-dir")),
    "progress": (("run", "c.yaml", "--progress", "often"), ("expected auto, none or a number of seconds", "'often'")),
    "no value": (("run", "c.yaml", "rounds="), ("rounds: no value given", "rounds=null")),
    "rounds zero": (("run", "c.yaml", "rounds=0"), ("rounds=0: rounds: must be at least 1, got 0",)),
    "rounds negative": (("run", "c.yaml", "rounds=-1"), ("rounds: must be at least 1, got -1",)),
    "unknown override": (("run", "c.yaml", "sampling.temprature=1"), ("unknown key - did you mean 'temperature'?",)),
    "status of nothing": (("status", "nowhere"), ("'nowhere' does not exist",)),
    "status of no run": (("status", "."), (".: not a run directory (no run.json)", "`run` printed")),
    "show of no run": (("show", "."), (".: not a run directory (no run.json)",)),
    "status of a file": (("status", "c.yaml"), ("'c.yaml' is a file",)),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(tmp_path: Path, name: str) -> None:
    create(tmp_path)
    words, expected = USAGE[name]
    refused(command(tmp_path, *words), 2, *expected)
    assert not (tmp_path / "runs").exists()


# -- configuration ---------------------------------------------------------------------------------------------------

MISSPELT = changed('"rounds"', '"rouns"')
TYPES = changed('"rounds": 1', '"rounds": "many"')
SEVERAL = changed('"rounds": 1', '"rounds": "x",\n "seed": -1').replace('"part_samples"', '"part_sample"')
SCRIPTLESS = json.dumps({**CONFIG, "sampling": {"type": "scripted"}})
TWICE = changed('"rounds": 1', '"rounds": 1, "rounds": 2')

CONFIGURATIONS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "unknown key": (MISSPELT, (f"{where(MISSPELT, 'rouns')}: rouns: unknown key - did you mean 'rounds'?",)),
    "wrong type": (TYPES, (f"{where(TYPES, 'rounds')}: rounds: expected a whole number, got 'many'",)),
    "several at once": (
        SEVERAL,
        (
            f"{where(SEVERAL, 'rounds')}: rounds: expected a whole number",
            f"{where(SEVERAL, 'seed')}: seed: must be at least 0, got -1",
            f"{where(SEVERAL, 'part_sample')}: sampling.part_sample: unknown key - did you mean 'part_samples'?",
        ),
    ),
    "a key twice": (TWICE, ("rounds: given twice, first at " + where(TWICE, "rounds").removeprefix("c.yaml:"),)),
    "not YAML": ("model: [\nrounds: 1\n", ("c.yaml:3:1: not valid YAML",)),
    "a tab": ("data:\n\tgate: 1\n", ("c.yaml:2:1: not valid YAML: a tab cannot indent: use spaces",)),
    "empty": ("", ("c.yaml:1:1: model: required", "data: required", "recipe: required", "verifier: required")),
    "not UTF-8": (b"rounds: \xff\n", ("c.yaml:1:1: not UTF-8 text",)),
    "a list": ("- model\n", ("c.yaml:1:1", "expected `key: value` lines")),
    "no script": (SCRIPTLESS, ("'script' and 'type: scripted' go together",)),
    "unknown recipe": (changed("rest_em", "rest_me"), ("recipe: no recipe 'rest_me' - did you mean 'rest_em'?",)),
    "unknown recipe option": (changed('"samples": 2', '"sample": 2'), ("recipe.sample: ", "did you mean 'samples'?")),
    "unknown verifier": (changed("answer_match", "answer_mach"), ("no verifier 'answer_mach'", "'answer_match'?")),
    "missing script": (changed("script.py:answer", "scrip.py:answer"), ("'scrip.py'", "did you mean 'script.py'?")),
    "a model that is nowhere": (
        changed('"build": "selfimprove.testing:tiny_llama"', '"source": "my-model"'),
        ("model.source: no directory 'my-model'", "a model on the hub is written org/name"),
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration(tmp_path: Path, name: str) -> None:
    content, expected = CONFIGURATIONS[name]
    file = create(tmp_path)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = run(tmp_path)
    refused(found, 2, *expected)
    assert command(tmp_path, "config", "validate", "c.yaml") == found, "validate says the same"
    assert not (tmp_path / "runs").exists()


def test_a_process_of_its_own_says_the_same(tmp_path: Path) -> None:
    create(tmp_path).write_text(MISSPELT)
    program = [sys.executable, "-m", "selfimprove", "run", "c.yaml"]
    real = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert (real.returncode, real.stdout) == (2, "")
    assert real.stderr == run(tmp_path).err


# -- problems --------------------------------------------------------------------------------------------------------

BROKEN_ROWS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "bad JSON in line 17": (
        rows('{"prompt": "1+', problems=PROBLEMS[:16]),
        ("problems.jsonl:17: invalid JSON at col",),
    ),
    "not an object": (rows("[1, 2]"), ("problems.jsonl:25: not a JSON object but a list", "jq -c '.[]'")),
    "no prompt": (
        rows({"question": "1+1"}),
        ("problems.jsonl:25: no 'prompt'; the row has: question", "columns.prompt"),
    ),
    "nothing in it": ("", ("problems.jsonl holds no problems; it needs at least one line",)),
    "not UTF-8": (rows().encode() + b'{"prompt": "\xff"}\n', ("problems.jsonl:25: not UTF-8: byte 0xff", "iconv")),
    "a NUL in a prompt": (rows({"prompt": "1+\0"}), ("problems.jsonl:25: the prompt holds a NUL", "remove it")),
    "a NUL in an answer": (rows({"prompt": "x", "answer": "\0"}), (":25: the answer holds a NUL", "remove it")),
    "a lone surrogate in a prompt": (
        rows('{"prompt": "\\ud800"}'),
        (":25: 'prompt' holds a lone surrogate (\\ud800)",),
    ),
    "a lone surrogate in an answer": (
        rows('{"prompt": "x", "answer": "\\udfff"}'),
        (":25: 'answer' holds a lone surr",),
    ),
    "a prompt of a megabyte": (
        rows({"prompt": "1+" * 500_000}),
        (":25: the prompt has 1,000,000 characters", "max_prom"),
    ),
    "two answers": (
        rows({"prompt": "1+1=", "answer": "3"}),
        (
            "problems.jsonl:25: asks the same as ",
            "problems.jsonl:1 with another answer ('3', there '2')",
            "'key' column",
        ),
    ),
    "a key twice in a row": (rows('{"prompt": "x", "prompt": "y"}'), (":25: 'prompt' appears twice in one object",)),
    "many bad rows": (rows(*["{"] * 40), ("40 of 64 lines cannot be used", "problems.jsonl:25: invalid JSON")),
}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_problems(tmp_path: Path, name: str) -> None:
    content, expected = BROKEN_ROWS[name]
    create(tmp_path)
    (tmp_path / "problems.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    found = run(tmp_path)
    if name == "many bad rows":
        assert found.code == 2 and "... and 20 more" in found.err
        assert all(word in found.err for word in expected)
    else:
        refused(found, 2, *expected)
    assert command(tmp_path, "plan", "c.yaml").err == found.err, "plan says the same"
    assert not (tmp_path / "runs/c/run.json").exists(), "no run was begun"
    (tmp_path / "problems.jsonl").write_text(rows())
    finished(tmp_path)


def test_a_problems_file_that_is_not_there_or_is_no_file(tmp_path: Path) -> None:
    file = create(tmp_path)
    problems = tmp_path / "problems.jsonl"
    problems.unlink()
    place = f"{where(file.read_text(), 'problems')}: data.problems: "
    refused(run(tmp_path), 2, f"{place}no file 'problems.jsonl'")
    (tmp_path / "problem.jsonl").write_text(rows())
    refused(run(tmp_path), 2, f"{place}no file 'problems.jsonl' - did you mean 'problem.jsonl'?")
    problems.mkdir()
    refused(run(tmp_path), 2, f"{place}'problems.jsonl' is a directory", "name one .jsonl")
    problems.rmdir()
    problems.write_text(rows())
    finished(tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "7+7=", "completion": "  "}, "demos.jsonl:1: empty completion; write one, or null"),
        ({"prompt": "7+7="}, "demos.jsonl:1: no completion; this source needs column 'completion'"),
    ],
)
def test_demonstrations_without_a_solution(tmp_path: Path, row: dict[str, str], words: str) -> None:
    create(tmp_path, data={"demonstrations": "demos.jsonl"})
    (tmp_path / "demos.jsonl").write_text(rows(row, problems=[]))
    refused(run(tmp_path), 2, words)
    (tmp_path / "demos.jsonl").write_text(rows({"prompt": "7+7=", "completion": "14"}, problems=[]))
    finished(tmp_path)


def test_more_held_out_than_there_are(tmp_path: Path) -> None:
    create(tmp_path, data={"gate": 20, "report": 20})
    refused(run(tmp_path), 2, "24 problems leave none to train on after gate (20) and report (20)", "lower data.gate")
    assert finished(tmp_path, "data.gate=6", "data.report=6"), "the run was not begun, so its configuration may change"


# -- models ----------------------------------------------------------------------------------------------------------


def model(*names: str) -> Callable[[Path], Any]:
    def make(directory: Path) -> None:
        directory.mkdir()
        for name in names:
            (directory / name).write_text("{}")

    return make


MODELS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "no config.json": (
        model("tokenizer.json", "model.safetensors"),
        ("no config.json", "Transformers model directory"),
    ),
    "no tokenizer": (model("config.json", "model.safetensors"), ("no tokenizer", "tokenizer.save_pretrained(DIR)")),
    "no weights": (model("config.json", "tokenizer.json"), ("no weights", "save_pretrained")),
    "unsafe weights": (
        model("config.json", "tokenizer.json", "pytorch_model.bin"),
        ("only pytorch_model.bin, which can run code when loaded", "safe_serialization=True"),
    ),
    "a file": (lambda path: path.write_text("x"), ("neither a directory nor a hub id",)),
}
# A verifier that tells when a process has loaded it.
TELLTALE = 'open("started", "w").close()\n\n\ndef judge(problem, sample):\n    return True\n'


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, name: str) -> None:
    make, expected = MODELS[name]
    (tmp_path / "v.py").write_text(TELLTALE)
    file = create(tmp_path, model="my-model", verifier={"name": "v.py:judge"})
    make(tmp_path / "my-model")
    found = run(tmp_path)
    refused(found, 5, str(tmp_path / "my-model"), *expected)
    assert command(tmp_path, "plan", "c.yaml").err == found.err
    assert found.err == command(tmp_path, "eval", tmp_path / "my-model", "c.yaml").err
    assert not (tmp_path / "started").exists(), "refused before any process was started"
    assert file.exists() and not (tmp_path / "runs/c/run.json").exists()


def test_a_hub_model_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "v.py").write_text(TELLTALE)
    create(tmp_path, model="acme/tiny-nothing", verifier={"name": "v.py:judge"})
    refused(run(tmp_path, HF_HUB_OFFLINE="1"), 5, "acme/tiny-nothing is not in the local cache", "give its directory")
    assert not (tmp_path / "started").exists()
    refused(command(tmp_path, "eval", "a--b/c..d", "c.yaml", HF_HUB_OFFLINE="1"), 5, "a--b/c..d", "cannot be fetched")
    refused(command(tmp_path, "eval", "nowhere/", "c.yaml"), 5, "nowhere is neither a directory nor a hub id")


# -- for programs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "changes", "code", "name", "message"),
    [
        (("run", "c.yaml", "rounds=x"), {}, 2, "config.invalid", "expected a whole number, got 'x'"),
        (("run", "c.yaml", "--jsn"), {}, 2, "usage", "--jsn"),
        (("run", "c.yaml"), {"data": {"gate": 99}}, 2, "config", "24 problems leave none"),
        (("run", "c.yaml", "--run-dir", "script.py"), {}, 5, "precondition", "script.py"),
        (("status", "."), {}, 2, "config", "not a run directory"),
    ],
)
def test_json_holds_one_object_on_failure_too(
    tmp_path: Path, words: tuple[str, ...], changes: dict[str, Any], code: int, name: str, message: str
) -> None:
    create(tmp_path, **changes)
    found = command(tmp_path, *words, "--json")
    body = found.envelope
    assert (found.code, body["exit_code"], body["ok"], body["error"]["code"]) == (code, code, False, name)
    assert message in body["error"]["message"] and body["command"] == words[0]
    assert body["schema"] == "selfimprove.cli/1" and found.err == ""
