"""Verifiers of every kind in a run: groups, combinations, a judge that asks. Run: pytest tests/test_judged.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.errors import ConfigError, TooManyErrors
from selfimprove.rejudge import rejudge_run
from selfimprove.run import execute
from selfimprove.store import tables
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed

RECIPE = """
from dataclasses import dataclass
from selfimprove import Policy, Round, pairs
@dataclass(frozen=True)
class PairsConfig:
    n: int = 4
def paired(round: Round, config: PairsConfig) -> Policy:
    return round.train(pairs(round.attempt(n=config.n)), start="previous")
"""
SCRIPT = """
def say(messages, index, seed, policy):
    text = messages[-1].content
    if text.startswith("Is "):
        return "YES" if int(text.split()[1]) % 2 == 0 else ("hm" if "7" in text and seed % 2 else "NO")
    return str(index + len(text) % 2)
"""
VERIFIERS = """
from selfimprove import Verdict, erring, failing, passing
from selfimprove.judging import Question
LOG = []
def below_three(problem, sample):
    return int(sample.completion) < 3
def largest(problem, samples):
    top = max(int(s.completion) for s in samples)
    return [int(s.completion) == top for s in samples]
class asked:
    def questions(self, problem, samples):
        return [Question(f"Is {s.completion} even?") for s in samples]
    def verdicts(self, problem, samples, replies):
        words = {"YES": passing("said yes"), "NO": failing("said no")}
        return [words.get(r.text, erring("unparsable", r.text)) for r in replies]
class weighed:
    def questions(self, problem, samples):
        return [Question("Is it", continuation=" right") for s in samples]
    def verdicts(self, problem, samples, replies):
        return [r.logprob > -1 for r in replies]
def often_errs(problem, sample):
    if hash(sample.id) % 1000 < 1000 * SHARE:
        raise OSError("the disk of the judge is gone")
    return int(sample.completion) < 2
"""


def config(folder: Path, verifier: Any, problems: int = 6, share: float = 0.0, script: str = SCRIPT) -> Path:
    (folder / "recipe.py").write_text(RECIPE)
    (folder / "script.py").write_text(script)
    (folder / "v.py").write_text(f"SHARE = {share}\n" + VERIFIERS)
    rows = [{"prompt": f"p{i:03d}" + "x" * (i % 2), "answer": "0"} for i in range(problems)]
    (folder / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    whole = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"problems": "problems.jsonl", "gate": 0, "report": 0},
        "recipe": "recipe.py:paired",
        "verifier": verifier,
        "rounds": 1,
        "sampling": {"type": "scripted", "script": "script.py:say", "part_samples": 16},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (folder / "config.yaml").write_text(json.dumps(whole))
    return folder / "config.yaml"


def run(folder: Path, verifier: Any, **more: Any) -> dict[str, Any]:
    """Runs once, then again; the verdict tables by step name, rows by completion."""
    path = config(folder, verifier, **more)
    assert execute(load_config([str(path)]), folder / "run", progress="none").exit_code in (0, 9)  # 9: no pairs
    files = RunFiles(folder / "run")
    return {key: marker for key, marker in committed(files) if key.startswith("rounds/001/attempt/")}


def verdicts(folder: Path) -> list[tuple[str, str, str]]:
    """(completion, outcome, reason) of every judged sample."""
    home = folder / "run/rounds/001/attempt"
    said = {
        s.id: s.completion
        for f in sorted((home / "samples").glob("a-*/*.parquet"))
        for s in tables.samples_of(tables.read(f))
    }
    rows = []
    for file in sorted(home.glob("verdicts-*/a-*/*.parquet")):
        table = tables.read(file)
        found = zip(table["sample_id"].to_pylist(), tables.verdicts_of(table), strict=True)
        rows += [(said[key], verdict.outcome, verdict.reason) for key, verdict in found]
    return rows


def test_a_group_verifier_sees_all_samples_of_a_problem(tmp_path: Path) -> None:
    run(tmp_path, {"name": "v.py:largest", "workers": 1})
    found = verdicts(tmp_path)
    assert len(found) == 24 and sum(outcome == "pass" for _, outcome, _ in found) == 6
    assert {text for text, outcome, _ in found if outcome == "pass"} == {"3", "4"}


def test_all_keeps_every_reason_and_each_verifiers_own_step(tmp_path: Path) -> None:
    steps = run(tmp_path, {"all": ["v.py:below_three", {"name": "v.py:largest", "workers": 1}]})
    assert sorted(key.split("/")[-1].split("-")[0] for key in steps) == ["leaf", "leaf", "samples", "verdicts"]
    assert all(outcome == "fail" for _, outcome, _ in verdicts(tmp_path))


def test_a_cascade_asks_the_dear_one_only_of_what_is_left(tmp_path: Path) -> None:
    steps = run(tmp_path, {"cascade": ["v.py:below_three", "v.py:asked"]}, problems=5)
    asked = [marker.counts["sampled"] for key, marker in steps.items() if "/asked/" in key and key.endswith("samples")]
    left = sum(int(text) < 3 for text, _, _ in verdicts(tmp_path))
    assert sum(asked) == left < 20
    for text, outcome, reason in verdicts(tmp_path):
        assert outcome == ("pass" if int(text) in (0, 2) else "fail"), reason


def test_a_judge_asks_in_batches_and_asks_again_what_it_cannot_read(tmp_path: Path) -> None:
    steps = run(tmp_path, {"name": "v.py:asked", "retries": 3})
    found = verdicts(tmp_path)
    assert {text: outcome for text, outcome, _ in found} == {
        "0": "pass",
        "1": "fail",
        "2": "pass",
        "3": "fail",
        "4": "pass",
    }
    assert any(key.endswith("000000-0/" + key.split("/")[-2] + "/samples") for key in steps)


def test_a_judge_may_weigh_words_instead_of_asking(tmp_path: Path) -> None:
    weighing = "    if text == 'Is it': return -0.5 - index\n    if text.startswith"
    run(tmp_path, "v.py:weighed", script=SCRIPT.replace("    if text.startswith", weighing))
    assert {(outcome, reason) for _, outcome, reason in verdicts(tmp_path)} == {("pass", "")}


def test_too_many_errors_stop_the_run_and_say_which(tmp_path: Path) -> None:
    path = config(tmp_path, {"name": "v.py:often_errs", "retries": 0}, problems=100, share=0.3)
    with pytest.raises(TooManyErrors) as error:
        execute(load_config([str(path)]), tmp_path / "run", progress="none")
    assert error.value.exit_code == 8 and "OSError" in str(error.value) and "disk of the judge" in str(error.value)


def test_a_few_errors_do_not_stop_it_and_are_in_no_pair(tmp_path: Path) -> None:
    steps = run(tmp_path, {"name": "v.py:often_errs", "retries": 0}, problems=200, share=0.01)
    errors = next(marker.counts["errors"] for key, marker in steps.items() if "/verdicts-" in key)
    assert 0 < errors < 40
    home = tmp_path / "run/rounds/001"
    erred = set()
    for file in home.glob("attempt/verdicts-*/a-*/*.parquet"):
        table = tables.read(file)
        erred |= {k for k, v in zip(table["sample_id"].to_pylist(), tables.verdicts_of(table), strict=True) if v.error}
    (examples,) = home.glob("train/examples/a-*/examples.parquet")
    rows = list(tables.read_examples(examples))
    assert rows and len(erred) == errors and not erred & {source for row in rows for source in row.source}


def test_stored_samples_are_judged_again_and_nothing_is_sampled(tmp_path: Path) -> None:
    from selfimprove.cli import main

    run(tmp_path, {"name": "v.py:below_three", "workers": 1})
    before = {key for key, _ in committed(RunFiles(tmp_path / "run"))}
    (tmp_path / "script.py").write_text("def say(*_):\n    raise RuntimeError('sampled again')\n")
    found = rejudge_run(tmp_path / "run", {"name": f"{tmp_path}/v.py:largest"})
    (step,) = found["steps"]
    assert step["samples"] == 24 and not step["reused"]
    assert step["changed"] == {"fail -> pass": 6, "pass -> fail": 15}
    assert {flip["after"] for flip in step["flips"]} == {"pass", "fail"}
    assert rejudge_run(tmp_path / "run", {"name": f"{tmp_path}/v.py:largest"})["steps"][0]["reused"]
    new = {key for key, _ in committed(RunFiles(tmp_path / "run"))} - before
    assert len(new) == 1 and next(iter(new)).startswith("rounds/001/attempt/rejudged-")
    cascade = f"{{cascade: [{tmp_path}/v.py:below_three, {tmp_path}/v.py:largest]}}"
    assert main(["verify", str(tmp_path / "run"), "--with", cascade, "--step", "rounds/001"]) == 0
    assert main(["verify", str(tmp_path / "run"), "--with", "none", "--step", "rounds/009"]) == 2


TASKS = """
def arithmetic(problem, sample): return sample.completion == "0"
def breaks(problem, sample): raise OSError("the code judge is gone")
def short(problem, samples): return [len(s.completion) < 2 for s in samples]
"""


def test_each_task_has_its_verifier_and_one_that_breaks_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(TASKS)
    judges = [
        {"name": "t.py:arithmetic", "tasks": ["sums"]},
        {"name": "t.py:short", "tasks": ["format"]},
        {"name": "t.py:breaks", "tasks": ["code"], "retries": 0},
    ]
    path = config(tmp_path, {"all": judges, "max_error_share": 1.0, "audit": "off"}, problems=9)
    rows = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    tasks = ["sums", "format", "code"]
    lines = [json.dumps({**row, "task": tasks[place % 3]}) for place, row in enumerate(rows)]
    (tmp_path / "problems.jsonl").write_text("\n".join(lines))
    execute(load_config([str(path)]), tmp_path / "run", progress="none")
    files = RunFiles(tmp_path / "run")
    (final,) = [m for key, m in committed(files) if key.startswith("rounds/001/attempt/verdicts-")]
    assert final.counts["errors"] == 12 and final.counts["sampled"] == 36
    assert final.counts["passed"] > 12, "the other two tasks are judged as ever"
    path.write_text(path.read_text().replace('"max_error_share": 1.0', '"max_error_share": 0.5'))
    with pytest.raises(TooManyErrors, match="the code judge is gone") as raised:
        execute(load_config([str(path)]), tmp_path / "other", progress="none")
    assert raised.value.exit_code == 8, "twelve of its own twelve, though only a third of all"


def test_the_accuracy_of_each_task_is_told(tmp_path: Path) -> None:
    from selfimprove.report.status import read_status, render_status

    (tmp_path / "t.py").write_text(TASKS)
    judges = [{"name": "t.py:arithmetic", "tasks": ["sums"]}, {"name": "t.py:short", "tasks": ["format"]}]
    path = config(tmp_path, {"all": judges, "audit": "off"}, problems=16)
    rows = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    lines = [json.dumps({**row, "task": ("sums", "format")[place % 2]}) for place, row in enumerate(rows)]
    (tmp_path / "problems.jsonl").write_text("\n".join(lines))
    path.write_text(path.read_text().replace('"gate": 0', '"gate": 8'))
    execute(load_config([str(path)]), tmp_path / "run", progress="none")
    status = read_status(tmp_path / "run")
    (row,) = status["rounds"]
    assert set(row["by_task"]) == {"sums", "format"} and row["by_task"]["format"]["value"] == 1.0
    assert sum(found["n"] for found in row["by_task"].values()) == row["accuracy"]["n"] == 8
    assert "round 1, format: 100.0 %" in render_status(status)


def test_a_task_without_a_verifier_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(TASKS)
    path = config(tmp_path, {"name": "t.py:arithmetic", "tasks": ["sums"]})
    with pytest.raises(ConfigError, match="no verifier judges problems of task 'default'"):
        execute(load_config([str(path)]), tmp_path / "run", progress="none")
