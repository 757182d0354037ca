"""A probe begins a run; --until ends one early. Run: pytest tests/test_probe.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.control import Stop
from selfimprove.errors import ConfigError, Stopped
from selfimprove.probe import Asked, figures, probe, render
from selfimprove.run import execute
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed
from selfimprove.testing import tiny_llama
from selfimprove.types import Attempt, Sample, erring, failing, passing

SCRIPT = """
CALLS = []
def say(messages, index, seed, policy):
    CALLS.append(1)
    number = int(messages[0].content[1:])
    return str(0 if index < number % 9 else index)
"""
DOUBLES = (
    "sampling.type=scripted", "sampling.script=s.py:say", "cluster.backend=inline", "training.type=recording",
    "rounds=1",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_llama("model", hidden_size=32, layers=1, heads=2)
    (tmp_path / "s.py").write_text(SCRIPT)
    rows = [{"prompt": f"p{n:03d}", "answer": "0"} for n in range(100)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def asked(**more: Any) -> Asked:
    return Asked("model", "p.jsonl", "answer_match", **{"problems": 10, **more})


def test_a_probe_is_the_beginning_of_a_run(here: Path) -> None:
    found = probe(asked(), Path("probe.yaml"), Path("runs/probe"), DOUBLES, "none")
    assert (found["problems"], found["samples"], found["k"]) == (10, 80, 8)
    parts = list((here / "runs/probe/rounds/001/attempt/samples/parts").iterdir())
    assert len(parts) == 1 and not (here / "runs/probe/rounds/001/attempt/samples/COMMITTED.json").exists()
    before = parts[0].read_bytes()
    again = probe(asked(), Path("probe.yaml"), Path("runs/probe"), DOUBLES, "none")
    assert {**again, "seconds": 0} == {**found, "seconds": 0}, "asked once"
    execute(load_config(["probe.yaml"], list(DOUBLES)), Path("runs/probe"), progress="none")
    assert parts[0].read_bytes() == before, "its samples count for round 1"
    assert "rounds/001/train/policy" in dict(committed(RunFiles(here / "runs/probe")))
    assert "go on from here: selfimprove run probe.yaml" in render(found)


def test_a_file_in_the_way_and_a_verifier_that_asks_are_refused(here: Path) -> None:
    (here / "probe.yaml").write_text("mine: 1")
    with pytest.raises(ConfigError, match=r"probe\.yaml exists and says something else"):
        probe(asked(), Path("probe.yaml"), Path("runs/probe"))
    with pytest.raises(ConfigError, match="asks a model"):
        probe(Asked("model", "p.jsonl", "self_critique"), Path("other.yaml"), Path("runs/other"))


def test_what_the_figures_are() -> None:
    def group(problem: str, *verdicts: Any) -> list[Attempt]:
        rows = [Sample(f"{problem}/{i}", problem, i, "", "", [], "x", [1, 2], "stop", i, "") for i in range(4)]
        return [Attempt(row, (verdict,)) for row, verdict in zip(rows, verdicts, strict=True)]

    right, wrong, error = passing(answer="4"), failing("no", answer="5"), erring("OSError", "gone")
    some, few = group("a", right, right, right, wrong), group("b", wrong, wrong, wrong, right)
    found = figures([*some, *few, *group("c", right, right, error, error)])
    assert found["pass@1"]["value"] == pytest.approx((0.75 + 0.25 + 1) / 3)
    assert found["maj@4"] == pytest.approx(2 / 3) and found["pass@4"] == 1.0
    assert (found["never_solved"], found["always_solved"], found["errors"]) == (0, 1, {"OSError": 2})


def test_until_select_stops_before_training_and_goes_on(here: Path) -> None:
    probe(asked(), Path("probe.yaml"), Path("runs/probe"), DOUBLES, "none")
    config = load_config(["probe.yaml"], list(DOUBLES))
    with pytest.raises(Stopped, match="stopped after select, as asked"):
        execute(config, Path("runs/half"), progress="none", stop=Stop(until="select"))
    done = dict(committed(RunFiles(here / "runs/half")))
    assert "rounds/001/train/examples" in done and "rounds/001/train/policy" not in done
    execute(config, Path("runs/half"), progress="none")
    assert "rounds/001/train/policy" in dict(committed(RunFiles(here / "runs/half")))
