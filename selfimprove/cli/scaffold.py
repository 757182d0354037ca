"""Files that commands write for a user: a small project, and copies of recipes.

Contract: nothing is ever overwritten; a name that exists is an error that says which, before anything is written. The
project's method, problems and options are those of the preset ``quickstart``, so that it works as that does.

See it work: ``selfimprove init my-project && cd my-project && selfimprove run config.yaml``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfimprove import plugins
from selfimprove.errors import ConfigError

PRESET = "quickstart"
_TINY = ("sampling", "training", "evaluation")  # these, and the recipe's ``args``, suit the preset's tiny model only

_HEADER = """\
# yaml-language-server: $schema=schema.json
# Every key: selfimprove config schema. Everything resolved: selfimprove config show config.yaml --explain.
"""

_VERIFIER = '''\
"""Decides which answers are good. Try it: pytest test_verifier.py"""

import re

from selfimprove import Problem, Sample, Verdict, failing, passing


def correct(problem: Problem, sample: Sample) -> Verdict:
    found = re.fullmatch(r"\\s*(-?\\d+)\\s*", sample.completion)
    if found is None:
        return failing("not a whole number")
    return passing(answer=found[1]) if found[1] == problem.answer else failing("wrong", answer=found[1])
'''

_TEST = '''\
"""The verifier is tested before the model is: right answers pass, everything else fails."""

import json
from pathlib import Path

from verifier import correct

from selfimprove import Problem, Sample, messages

ROWS = [json.loads(line) for line in Path(__file__).with_name("problems.jsonl").read_text().splitlines()]


def judge(row: dict, completion: str) -> bool:
    problem = Problem("p", messages(row["prompt"]), answer=row["answer"])
    sample = Sample("s", "p", 0, "", row["prompt"], (), completion, (), "stop", 0, "policy")
    return correct(problem, sample).passed


def test_right_answers_pass():
    assert all(judge(row, row["answer"]) for row in ROWS)


def test_wrong_empty_and_listed_answers_fail():
    for row in ROWS:
        for completion in (row["answer"] + "1", "", "1 2 3 " + row["answer"]):
            assert not judge(row, completion)
'''

_README = """\
# {name}

    selfimprove plan config.yaml     # what would be done, and what it would cost
    selfimprove run config.yaml      # do it; the same command continues after any interruption
    selfimprove show runs/config     # what came out, down to single samples

`verifier.py` decides which answers are good; `pytest test_verifier.py` tries it out. `problems.jsonl` holds one problem
a line (`prompt`, `answer`), `demonstrations.jsonl` some with a human solution (`completion`). Replace them by yours.
"""

_IGNORE = "runs/\n__pycache__/\n"


def scaffold(directory: Path, recipe: str | None, model: str | None) -> list[str]:
    """Write a project into ``directory``; returns the names of its files. Raises ConfigError if one exists."""
    from selfimprove.config import schema

    if recipe is not None:
        plugins.resolve("recipe", recipe)
    preset = _preset()
    files = {
        "config.yaml": _config(preset, recipe, model),
        "schema.json": json.dumps(schema(), indent=1) + "\n",
        "verifier.py": _VERIFIER,
        "test_verifier.py": _TEST,
        "problems.jsonl": _lines(preset["data"]["problems"], ("prompt", "answer")),
        "demonstrations.jsonl": _lines(preset["data"]["demonstrations"], ("prompt", "answer", "completion")),
        "README.md": _README.format(name=directory.resolve().name),
        ".gitignore": _IGNORE,
    }
    _refuse_existing([directory / name for name in files])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return list(files)


def copy_recipe(name: str, dest: Path | None) -> tuple[Path, str]:
    """Copy a recipe's file; returns the new file and the spec that names the recipe in it."""
    place = plugins.locate("recipe", name)
    target = dest or Path(f"{place.object}.py")
    if target.is_dir():
        target = target / f"{place.object}.py"
    if target.suffix != ".py":
        raise ConfigError(f"{target} is neither a directory nor a .py file")
    _refuse_existing([target])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(place.file.read_bytes())
    return target, f"{target}:{place.object}"


def _refuse_existing(files: list[Path]) -> None:
    existing = [str(file) for file in files if file.exists()]
    if existing:
        raise ConfigError(f"will not overwrite {', '.join(existing)}", hint="move it away, or choose another place")


def _preset() -> dict[str, Any]:
    from selfimprove.config import strict_yaml

    return strict_yaml.read(plugins.presets()[PRESET], PRESET).value


def _config(preset: dict[str, Any], recipe: str | None, model: str | None) -> str:
    """A configuration with a word on each of its top keys."""
    from selfimprove.config import RunConfig, keys_of, strict_yaml

    files = {"problems": "problems.jsonl", "demonstrations": "demonstrations.jsonl"}
    chosen: dict[str, Any] = {"model": model or preset["model"], "data": {**preset["data"], **files}}
    if model is None:  # a random model must first learn what an answer looks like
        chosen["warmup"] = preset["warmup"]
    method = {key: value for key, value in preset["recipe"].items() if key != "args" or model is None}
    chosen |= {"recipe": recipe or method, "verifier": "verifier.py:correct"}
    kept = ("rounds", "ask", "problems_per_round", *(_TINY if model is None else ()))
    chosen |= {key: preset[key] for key in kept if key in preset}
    said = keys_of(RunConfig)
    return _HEADER + "".join(f"\n# {said[key]}\n{strict_yaml.dump({key: value})}" for key, value in chosen.items())


def _lines(source: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The rows of a generator, as the preset calls it."""
    rows = plugins.resolve("problems", source["source"])(**source["args"])
    return "".join(json.dumps({key: row[key] for key in keys}) + "\n" for row in rows)
