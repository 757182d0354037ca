from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, Starved
from selfimprove.store.tables import write_examples
from selfimprove.training import Trainer
from selfimprove.training.recording import RecordingTrainer
from selfimprove.types import Example, Policy, TrainRequest, TrainResult
from tests.training.conftest import demonstration, demonstrations, pairs

START = Policy("start", "s1")


def ask(directory: Path, rows: Sequence[Example] | None = None, **changes: Any) -> TrainRequest:
    output = directory / str(len(list(directory.iterdir())))
    output.mkdir(parents=True)
    examples = output / "examples.parquet"
    rows = rows if rows is not None else demonstrations()
    write_examples(examples, rows, type(rows[0]))
    return replace(TrainRequest("sft", str(examples), START, str(output / "out")), **changes)


def digest_of(result: TrainResult) -> str:
    return json.loads(Path(result.adapter or result.source, "weights.json").read_text())["digest"]


def test_it_is_a_trainer() -> None:
    trainer: Trainer = RecordingTrainer({}, {})
    trainer.warm()


def test_the_same_request_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    one, two = (RecordingTrainer({}, {}).train(ask(tmp_path)) for _ in range(2))
    assert one.source != two.source
    assert Path(one.source, "weights.json").read_bytes() == Path(two.source, "weights.json").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": demonstrations(7)},
        {"rows": demonstrations(weight=2.0)},
        {"start": Policy("start", "s2")},
        {"args": {"learning_rate": 1.0}},
        {"seed": 1},
        {"lora": {"r": 2}},
        {"rows": pairs(), "objective": "dpo", "reference": START},
    ],
)
def test_whatever_decides_a_training_decides_the_digest(tmp_path: Path, changes: dict[str, Any]) -> None:
    trainer = RecordingTrainer({}, {})
    assert digest_of(trainer.train(ask(tmp_path))) != digest_of(trainer.train(ask(tmp_path, **changes)))


def test_a_path_and_a_source_decide_nothing(tmp_path: Path) -> None:
    trainer = RecordingTrainer({}, {})
    rows = [replace(row, source=("r1/a/0",)) for row in demonstrations()]
    one = trainer.train(ask(tmp_path))
    two = trainer.train(ask(tmp_path, rows=rows, start=replace(START, source="moved")))
    assert digest_of(one) == digest_of(two)


def test_it_keeps_what_it_was_asked_and_counts_what_it_dropped(tmp_path: Path) -> None:
    trainer, request = (
        RecordingTrainer({}, {}),
        ask(tmp_path, rows=[*demonstrations(3), replace(demonstration(()), completion="")]),
    )
    result = trainer.train(request)
    assert trainer.requests == [request]
    assert (result.rows, result.dropped) == (3, {"empty": 1})


def test_an_adapter_keeps_the_source(tmp_path: Path) -> None:
    result = RecordingTrainer({}, {}).train(ask(tmp_path, lora={"r": 2}))
    assert result.source == "start" and result.adapter is not None


def test_it_refuses_what_a_real_trainer_refuses(tmp_path: Path) -> None:
    trainer = RecordingTrainer({}, {})
    with pytest.raises(ConfigError, match="needs a reference"):
        trainer.train(ask(tmp_path, rows=pairs(), objective="dpo"))
    with pytest.raises(ConfigError, match="not one of"):
        trainer.train(ask(tmp_path, objective="ppo"))
    with pytest.raises(Starved):
        trainer.train(ask(tmp_path, rows=[replace(demonstration(()), completion="")]))


def test_a_built_model_depends_on_its_arguments(tmp_path: Path) -> None:
    trainer = RecordingTrainer({}, {})
    paths = [trainer.build("pkg.mod:fn", {"n": n}, str(tmp_path / name)) for n, name in ((1, "a"), (1, "b"), (2, "c"))]
    one, two, three = (Path(path, "weights.json").read_bytes() for path in paths)
    assert one == two != three


def test_it_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'trl', 'datasets'}"
    code = f"import sys, selfimprove.training.recording; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
