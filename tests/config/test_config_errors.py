"""What a stranger reads when a configuration is wrong: the exact texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.config import InvalidConfig, load_config
from selfimprove.errors import ConfigError

HEAD = """\
model: org/name
data: {problems: problems.jsonl}
recipe: recipe.py:keep
verifier: verifier.py:correct
"""

# name: (what follows HEAD, overrides, the whole message)
ON_TOP: dict[str, tuple[str, list[str], str]] = {
    "unknown key": (
        "sampling:\n  temprature: 0.1\n",
        [],
        "bad.yaml:6:3: sampling.temprature: unknown key - did you mean 'temperature'?",
    ),
    "unknown key that exists elsewhere": (
        "temperature: 0.7\n",
        [],
        "bad.yaml:5:1: temperature: unknown key - did you mean 'sampling.temperature'?",
    ),
    "unknown key that exists in two places": (
        "timeouts: 3\nthreads: 2\n",
        [],
        "bad.yaml:5:1: timeouts: unknown key (known here: ask, cluster, data, evaluation, model, problems_per_round, "
        "recipe, rounds, sample_from, sampling, seed, stop, training, verifier, warmup)\n"
        "bad.yaml:6:1: threads: unknown key - did you mean 'sampling.threads' or 'training.threads'?",
    ),
    "unknown key that a library has": (
        "training: {learning_rate: 1e-5}\n",
        [],
        "bad.yaml:5:12: training.learning_rate: unknown key - did you mean 'training.args.learning_rate'?",
    ),
    "text for a number": ("rounds: three\n", [], "bad.yaml:5:1: rounds: expected a whole number, got 'three'"),
    "quoted number": (
        "rounds: '3'\n",
        [],
        "bad.yaml:5:1: rounds: expected a whole number, got '3' (remove the quotes)",
    ),
    "fraction for a whole number": ("rounds: 2.5\n", [], "bad.yaml:5:1: rounds: expected a whole number, got 2.5"),
    "truth for a number": ("seed: true\n", [], "bad.yaml:5:1: seed: expected a whole number, got true"),
    "list for a number": ("seed: [1]\n", [], "bad.yaml:5:1: seed: expected a whole number, got [1]"),
    "number for text": (
        "sampling: {stop: [1]}\n",
        [],
        "bad.yaml:5:19: sampling.stop.0: expected text, got 1 (quote it)",
    ),
    "text for a list": ("sampling: {stop: x}\n", [], "bad.yaml:5:12: sampling.stop: expected a list, got 'x'"),
    "number for a mapping": ("sampling: 3\n", [], "bad.yaml:5:1: sampling: expected a mapping, got 3"),
    "nothing for a mapping": ("sampling:\n", [], "bad.yaml:5:1: sampling: expected a mapping, got nothing (null)"),
    "old truth": (
        "warmup: {name: recipe.py:keep}\nsampling: {dtype: float8}\n",
        ["model.trust_remote_code=yes"],
        "bad.yaml:6:12: sampling.dtype: expected 'auto', 'float32', 'bfloat16' or 'float16', got 'float8'"
        " - did you mean 'float32'?\n"
        "model.trust_remote_code=yes: model.trust_remote_code: expected true or false, got 'yes'"
        " - did you mean true?",
    ),
    "negative": (
        "seed: -1\n",
        ["data.gate=-1"],
        "bad.yaml:5:1: seed: must be at least 0, got -1\ndata.gate=-1: data.gate: must be at least 0, got -1",
    ),
    "below a bound": (
        "sampling: {max_tokens: 0, top_p: 0, temperature: -0.5}\n",
        [],
        "bad.yaml:5:12: sampling.max_tokens: must be at least 1, got 0\n"
        "bad.yaml:5:27: sampling.top_p: must be above 0, got 0\n"
        "bad.yaml:5:37: sampling.temperature: must be at least 0, got -0.5",
    ),
    "above a bound": ("stop: {target: 1.5}\n", [], "bad.yaml:5:8: stop.target: must be at most 1, got 1.5"),
    "not a number": (
        "sampling: {temperature: .nan, canary_tolerance: .inf}\n",
        [],
        "bad.yaml:5:12: sampling.temperature: must be a finite number, got nan\n"
        "bad.yaml:5:31: sampling.canary_tolerance: must be a finite number, got inf",
    ),
    "choice": (
        "ask: fres\nsample_from: x\n",
        [],
        "bad.yaml:5:1: ask: expected 'all' or 'fresh', got 'fres' - did you mean 'fresh'?\n"
        "bad.yaml:6:1: sample_from: expected 'continued', 'best', 'base' or 'initial', got 'x'",
    ),
    "script without its type": (
        "sampling: {script: verifier.py:correct}\n",
        [],
        "bad.yaml:5:1: sampling: 'script' and 'type: scripted' go together",
    ),
    "native options": (
        "sampling:\n  engine: {max_model_length: 32}\n  params: {min_pp: 0.1, temperature: 0}\n"
        "training:\n  args: {lerning_rate: 1e-5, output_dir: x}\n  lora: {rank: 8, lora_alfa: 1}\n",
        [],
        "bad.yaml:6:12: sampling.engine.max_model_length: unknown vLLM engine option - did you mean 'max_model_len'?\n"
        "bad.yaml:7:12: sampling.params.min_pp: unknown vLLM sampling option - did you mean 'min_p'?\n"
        "bad.yaml:7:25: sampling.params.temperature: not set here: use 'sampling.temperature'\n"
        "bad.yaml:9:10: training.args.lerning_rate: unknown TRL option - did you mean 'learning_rate'?\n"
        "bad.yaml:9:30: training.args.output_dir: not set here: the run directory decides\n"
        "bad.yaml:10:10: training.lora.rank: unknown PEFT LoRA option\n"
        "bad.yaml:10:19: training.lora.lora_alfa: unknown PEFT LoRA option - did you mean 'lora_alpha'?",
    ),
    "override: unknown key": (
        "",
        ["sampling.temp=1"],
        "sampling.temp=1: sampling.temp: unknown key - did you mean 'temperature'?",
    ),
    "override: wrong type": ("", ["rounds=abc"], "rounds=abc: rounds: expected a whole number, got 'abc'"),
    "override: below a number": ("", ["rounds.x=1"], "rounds.x=1: rounds: expected a whole number, got a mapping"),
    "override: no value": (
        "",
        ["rounds="],
        "rounds=: rounds: no value given: rounds=null for nothing, rounds='\"\"' for empty text",
    ),
    "override: bad YAML": (
        "",
        ["sampling.stop=[a"],
        "sampling.stop=[a: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ),
    "override: append to a number": (
        "",
        ["rounds=2", "rounds+=[1]"],
        "rounds+=[1]: rounds: '+=' appends a list to a list: key+=[value]",
    ),
    "override: append a word": (
        "",
        ["sampling.stop+=x"],
        "sampling.stop+=x: sampling.stop: '+=' appends a list to a list: key+=[value]",
    ),
}

# name: (the whole file, the whole message)
ALONE: dict[str, tuple[str, str]] = {
    "empty": (
        "",
        "bad.yaml:1:1: model: required: the policy to start from: a directory, a hub id, or {build: ...}\n"
        "bad.yaml:1:1: data: required: problems to learn from, and how many to hold out\n"
        "bad.yaml:1:1: recipe: required: the method: what a round does\n"
        "bad.yaml:1:1: verifier: required: how good samples are told from bad ones",
    ),
    "a list": ("- a\n- b\n", "bad.yaml:1:1: expected `key: value` lines"),
    "a word": ("hello\n", "bad.yaml:1:1: expected `key: value` lines"),
    "a tab": ("a:\n\tb: 1\n", "bad.yaml:2:1: not valid YAML: a tab cannot indent: use spaces"),
    "two colons": (
        "model: a: b\n",
        "bad.yaml:1:9: not valid YAML: a second ':' in one line: quote the value, or start a new line",
    ),
    "open bracket": ("rounds: [1, 2\n", "bad.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    "two documents": ("a: 1\n---\nb: 2\n", "bad.yaml:2:1: not valid YAML: but found another document"),
    "tag": (
        "rounds: !!python/object:os.system x\n",
        "bad.yaml:1:9: not valid YAML: tags such as 'tag:yaml.org,2002:python/object:os.system' are not allowed",
    ),
    "duplicate keys": (
        "rounds: 1\nseed: 1\nrounds: 2\nsampling: {top_p: 1, top_p: 0.5}\n",
        "bad.yaml:3:1: rounds: given twice, first at 1:1\nbad.yaml:4:22: sampling.top_p: given twice, first at 4:12",
    ),
    "number as a key": (
        "1: x\nnull: y\n",
        "bad.yaml:1:1: keys are text: quote '1'\nbad.yaml:2:1: keys are text: quote 'null'",
    ),
    "unknown alias": ("a: *b\n", "bad.yaml:1:4: not valid YAML: found undefined alias 'b'"),
    "extends nothing": (
        "extends: [base.yaml]\n",
        "bad.yaml:1:11: extends: no such file or preset - did you mean 'bad.yaml'?",
    ),
    "extends itself": ("extends: bad.yaml\n", "bad.yaml:1:1: extends: 'bad.yaml' extends itself: bad.yaml -> bad.yaml"),
    "extends a number": ("extends: [1]\n", "bad.yaml:1:1: extends: expected a list of files"),
    "things that do not exist": (
        "model: ./models/tiny\n"
        "data: {problems: problem.jsonl, demonstrations: {source: table.tsv}}\n"
        "recipe: recipes.py:keep\n"
        "verifier: {name: verifier.py:corect, args: {digit: 1}}\n",
        "bad.yaml:1:1: model: no directory './models/tiny' (there is no directory 'models')\n"
        "bad.yaml:2:8: data.problems: no file 'problem.jsonl' - did you mean 'problems.jsonl'?\n"
        "bad.yaml:2:50: data.demonstrations.source: 'table.tsv' is neither a generator's name nor a .jsonl, .jsonl.gz, "
        ".parquet, .csv file\n"
        "bad.yaml:3:1: recipe: no file 'recipes.py' - did you mean 'recipe.py'?\n"
        "bad.yaml:4:12: verifier.name: verifier.py:corect: verifier.py defines no 'corect' - did you mean 'correct'?",
    ),
    "wrong arguments": (
        "model: {build: generator.py:count, args: {steps: 2}}\n"
        "data: {problems: {source: generator.py:count, args: {n: 3, stepp: 2}}}\n"
        "recipe: recipe.py:keep\n"
        "verifier: {name: verifier.py:correct, args: {digit: 1}}\n",
        "bad.yaml:1:43: model.args.steps: unknown argument of 'generator.py:count' - did you mean 'step'?\n"
        "bad.yaml:2:60: data.problems.args.stepp: unknown argument of 'generator.py:count' - did you mean 'step'?\n"
        "bad.yaml:4:46: verifier.args.digit: unknown argument of 'verifier.py:correct' - did you mean 'digits'?",
    ),
    "unfit model": (
        "model: {source: org/name, build: generator.py:count}\n"
        "data: problems.jsonl\nrecipe: recipe.py:keep\nverifier: 3\n",
        "bad.yaml:1:1: model: give either 'source' or 'build'\n"
        "bad.yaml:2:1: data: expected a mapping, got 'problems.jsonl'\n"
        "bad.yaml:4:1: verifier: expected text or a mapping, got 3",
    ),
    "model of one word": (
        "model: tiny\ndata: {problems: problems.jsonl}\nrecipe: recipe.py:keep\nverifier: verifier.py:correct\n",
        "bad.yaml:1:1: model: no directory 'tiny', and a model on the hub is written org/name",
    ),
    "unpinned code": (
        "model: {source: org/name@main, trust_remote_code: true}\n"
        "data: {problems: problems.jsonl}\nrecipe: recipe.py:keep\nverifier: verifier.py:correct\n",
        "bad.yaml:1:1: model: 'trust_remote_code' needs a revision that cannot change: org/name@<40 hex digits>",
    ),
}

# name: (the recipe, the whole message)
RECIPES: dict[str, tuple[str, str]] = {
    "option": (
        "{name: recipe.py:keep, sample: 8}",
        "bad.yaml:3:32: recipe.sample: unknown option of recipe 'recipe.py:keep' - did you mean 'samples'?",
    ),
    "type": (
        "{name: recipe.py:keep, samples: many, temperature: hot, tags: x}",
        "bad.yaml:3:32: recipe.samples: expected a whole number, got 'many'\n"
        "bad.yaml:3:47: recipe.temperature: expected a number, got 'hot'\n"
        "bad.yaml:3:65: recipe.tags: expected a list, got 'x'",
    ),
    "choice": (
        "{name: recipe.py:keep, start: bse}",
        "bad.yaml:3:32: recipe.start: expected 'base' or 'previous', got 'bse' - did you mean 'base'?",
    ),
    "its own rule": ("{name: recipe.py:keep, samples: 0}", "bad.yaml:3:10: recipe: samples must be at least 1"),
    "native argument": (
        "{name: recipe.py:keep, args: {max_step: 3}}",
        "bad.yaml:3:39: recipe.args.max_step: unknown TRL option - did you mean 'max_steps'?",
    ),
    "required option": ("recipe.py:needy", "bad.yaml:3:1: recipe.teacher: required"),
    "no config": (
        "recipe.py:bare",
        "bad.yaml:3:1: recipe: 'bare' is not a recipe: a recipe is `def bare(round, config: Config)` with a frozen "
        "dataclass Config",
    ),
    "config not frozen": (
        "recipe.py:thawed",
        "bad.yaml:3:1: recipe: recipe 'thawed': Thawed must be frozen: @dataclass(frozen=True)",
    ),
    "no object named": (
        "recipe.py",
        "bad.yaml:3:1: recipe: 'recipe.py' names a file but no object in it: write recipe.py:keep",
    ),
    "no such object": (
        "recipe.py:kept",
        "bad.yaml:3:1: recipe: recipe.py:kept: recipe.py defines no 'kept' - did you mean 'keep'?",
    ),
    "no such module": (
        "no_such_package.mod:keep",
        "bad.yaml:3:1: recipe: no module 'no_such_package.mod' is installed "
        "(for a file of yours write path/to/file.py:keep)",
    ),
}


def message(files: list[str], overrides: list[str] | None = None) -> str:
    with pytest.raises(InvalidConfig) as caught:
        load_config(files, overrides or [])
    return str(caught.value)


@pytest.mark.parametrize("name", ON_TOP)
def test_fault_in_an_otherwise_good_file(project: Path, name: str) -> None:
    text, overrides, expected = ON_TOP[name]
    Path("bad.yaml").write_text(HEAD + text)
    assert message(["bad.yaml"], overrides) == expected


@pytest.mark.parametrize("name", ALONE)
def test_faulty_file(project: Path, name: str) -> None:
    text, expected = ALONE[name]
    Path("bad.yaml").write_text(text)
    assert message(["bad.yaml"]) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_faulty_recipe(project: Path, name: str) -> None:
    recipe, expected = RECIPES[name]
    Path("bad.yaml").write_text(HEAD.replace("recipe.py:keep", recipe))
    assert message(["bad.yaml"]) == expected


def test_unknown_built_ins_list_what_there_is(project: Path) -> None:
    Path("bad.yaml").write_text(HEAD.replace("recipe.py:keep", "zzz").replace("verifier.py:correct", "qqq"))
    recipe, verifier = message(["bad.yaml"]).splitlines()
    assert recipe.startswith("bad.yaml:3:1: recipe: no recipe 'zzz' (recipes: ")
    assert verifier.startswith("bad.yaml:4:1: verifier: no verifier 'qqq' (verifiers: ")
    assert recipe.endswith("; your own: path/to/file.py:object)")


def test_a_file_that_is_not_there(project: Path) -> None:
    assert message(["god.yaml"]) == "god.yaml: no such file or preset - did you mean 'good.yaml'?"
    Path("empty").mkdir()
    assert message(["empty"]) == "empty: a directory without config.resolved.yaml: not a run"
    with pytest.raises(ConfigError, match="no configuration given"):
        load_config([])


def test_a_file_that_is_not_text(project: Path) -> None:
    Path("bad.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert message(["bad.yaml"]) == "bad.yaml:2:1: not UTF-8 text"
    Path("bad.yaml").write_text("#" * 1_000_001)
    assert message(["bad.yaml"]) == "bad.yaml:1:1: larger than 1 MB: not a configuration"


def test_faults_of_all_files_and_overrides_come_together(project: Path) -> None:
    Path("a.yaml").write_text("rounds: 1\nrounds: 2\n")
    Path("b.yaml").write_text("seed: [\n")
    said = message(["a.yaml", "b.yaml", "nowhere.yaml"], ["seed="])
    assert [line.split(":")[0] for line in said.splitlines()] == ["a.yaml", "b.yaml", "nowhere.yaml", "seed="]


def test_a_fault_is_placed_in_the_file_that_won(project: Path) -> None:
    Path("base.yaml").write_text("rounds: none\nseed: nothing\n")
    Path("top.yaml").write_text("extends: [good.yaml, base.yaml]\n\nrounds: all\n")
    assert message(["top.yaml"]).splitlines() == [
        "base.yaml:2:1: seed: expected a whole number, got 'nothing'",
        "top.yaml:3:1: rounds: expected a whole number, got 'all'",
    ]


def test_cycle_through_two_files(project: Path) -> None:
    Path("a.yaml").write_text("extends: [b.yaml]\n")
    Path("b.yaml").write_text("extends: [a.yaml]\n")
    assert message(["a.yaml"]) == "b.yaml:1:11: extends: 'a.yaml' extends itself: a.yaml -> b.yaml -> a.yaml"


def test_a_broken_recipe_file_is_named_with_its_line(project: Path) -> None:
    Path("broken.py").write_text("def keep(round, config):\n    return (\n")
    Path("raises.py").write_text("import math\n\nx = 1 / 0\n\n\ndef keep(round, config): ...\n")
    broken, raises = (
        message(["good.yaml"], ["recipe=broken.py:keep"]),
        message(["good.yaml"], ["recipe=raises.py:keep"]),
    )
    assert broken == f"recipe=broken.py:keep: recipe: {project / 'broken.py'}:2: not valid Python: '(' was never closed"
    assert raises.endswith(f"cannot be imported: {project / 'raises.py'}:3: ZeroDivisionError: division by zero")


def test_environment_faults_name_the_variable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFIMPROVE__SAMPLING__TOP_Q", "1")
    assert message(["good.yaml"]) == "SELFIMPROVE__SAMPLING__TOP_Q: sampling.top_q: unknown key - did you mean 'top_p'?"
