"""A killed training goes on from a sealed checkpoint and ends with the same weights, bit for bit.

Run: pytest tests/training/test_checkpoints.py
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import Stopped
from selfimprove.store.tables import write_examples
from selfimprove.training import launch
from selfimprove.training.checkpoints import SEAL, request_stop
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Example, Policy, TrainRequest, TrainResult
from tests.training.conftest import demonstrations, distance, pairs, same_weights

ROOT = Path(__file__).parents[2]
OFTEN = 1e-6  # minutes: a checkpoint after every step
LORA = {"r": 4, "target_modules": "all-linear", "lora_dropout": 0.2}
Ask = Callable[..., TrainRequest]


@pytest.fixture
def ask(tiny: str, tmp_path: Path) -> Ask:
    """A request of 24 steps with shuffled rows and Adam, whose checkpoints outlive its output."""

    def make(name: str, objective: str = "sft", **changes: Any) -> TrainRequest:
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        rows: list[Example] = list(demonstrations(16) if objective == "sft" else pairs(16))
        write_examples(folder / "rows.parquet", rows, type(rows[0]))
        output = folder / f"out-{len(list(folder.glob('out-*')))}"
        output.mkdir()
        start = Policy(tiny, "tiny")
        args = {"per_device_train_batch_size": 4, "num_train_epochs": 6, "learning_rate": 1e-3}
        return TrainRequest(
            objective,
            str(folder / "rows.parquet"),
            start,
            str(output),
            reference=start if objective == "dpo" else None,
            args={**args, **changes.pop("args", {})},
            dtype="float32",
            checkpoints=str(folder / "checkpoints"),
            **changes,
        )

    return make


def seals(request: TrainRequest) -> list[Path]:
    return sorted(Path(request.checkpoints).glob(f"c-*/checkpoint-*/{SEAL}"))


def step_of(seal: Path) -> int:
    return int(seal.parent.name.partition("-")[2])


def kill_on_the_way(request: TrainRequest, **config: Any) -> int:
    """Train in a process of its own and kill it once a checkpoint is sealed; the step of the newest one left."""
    folder = Path(request.output, launch.FOLDER)
    folder.mkdir()
    told = {"config": {"threads": 1, "save_every_minutes": OFTEN, **config}, "model": {}, "release": launch._release()}
    (folder / launch.REQUEST).write_text(json.dumps({**told, "request": asdict(request)}))
    command = [sys.executable, "-m", "selfimprove.training.rank", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SELFIMPROVE_RANK": "1"}, stderr=subprocess.PIPE)
    until = time.monotonic() + 90
    while not any(step_of(seal) >= 3 for seal in seals(request)):
        assert process.poll() is None and time.monotonic() < until, process.communicate()[1][-3000:]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(map(step_of, seals(request)))
    assert reached < 24, "it was killed too late to show anything"
    return reached


def resumed(request: TrainRequest, **config: Any) -> TrainResult:
    return TRLTrainer({"threads": 1, "save_every_minutes": 15, **config}, {}).train(request)


@pytest.mark.parametrize(
    ("objective", "changes"),
    [
        ("sft", {}),
        pytest.param("dpo", {}, marks=pytest.mark.slow),
        pytest.param("sft", {"lora": LORA}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_training_ends_with_the_same_weights(
    ask: Ask, objective: str, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Order of rows, Adam's moments, the learning rate's decay and dropout all go on where they were."""
    unbroken = resumed(ask("unbroken", objective, **changes))
    killed = ask("killed", objective, **changes)
    reached = kill_on_the_way(killed)
    with caplog.at_level(logging.INFO):
        again = resumed(ask("killed", objective, **changes))
    assert f"training goes on at step {reached}" in caplog.text
    assert same_weights(unbroken, again)
    assert again.steps == unbroken.steps == 24
    assert again.metrics["mean_loss"] == pytest.approx(unbroken.metrics["mean_loss"], rel=1e-5)


@pytest.mark.slow
def test_only_a_checkpoint_that_verifies_is_resumed(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    unbroken = resumed(ask("unbroken"))
    killed = ask("killed")
    kill_on_the_way(killed)
    for seal in seals(killed):
        weights = seal.parent / "model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    assert same_weights(unbroken, resumed(ask("killed")))
    assert "model.safetensors is damaged" in caplog.text
    for seal in seals(killed):
        seal.unlink()  # as if killed while it was saved
    assert same_weights(unbroken, resumed(ask("killed")))
    assert "it is not whole" in caplog.text


@pytest.mark.slow
def test_the_rule_is_the_same_rows_per_step(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """With them, the number of processes may change; without, or with another option, the training begins anew."""
    unbroken = resumed(ask("unbroken"), batch_size=4)
    killed = ask("killed")
    reached = kill_on_the_way(killed, batch_size=4)
    other = resumed(ask("killed", args={"learning_rate": 2e-3}), batch_size=4)
    assert "it belongs to another training" in caplog.text
    assert not same_weights(unbroken, other)
    request = ask("killed", args={"per_device_train_batch_size": 2})
    caplog.clear()
    anew = resumed(ask("killed", args={"per_device_train_batch_size": 2}), batch_size=2)
    assert anew.steps == 48 and "it belongs to another training" in caplog.text
    alike = resumed(request, batch_size=4, launch="ddp", processes=2)
    assert f"training goes on at step {reached}" in Path(request.output, "launch", "processes.log").read_text()
    assert distance(unbroken, alike) < 1e-5


@pytest.mark.slow
def test_shards_go_on_too(ask: Ask) -> None:
    """Two processes that are asked to stop save what each holds, and go on from it."""
    two = {"launch": "fsdp2", "processes": 2, "batch_size": 4}
    small = {"args": {"per_device_train_batch_size": 2}}
    unbroken = resumed(ask("unbroken", **small), **two)
    request_stop(ask("stopped", **small).checkpoints)
    request = ask("stopped", **small)
    with pytest.raises(Stopped, match="training stopped at step 1"):
        resumed(request, **two)
    Path(request.checkpoints, "STOP").unlink()
    assert [step_of(seal) for seal in seals(request)] == [1]
    assert same_weights(unbroken, resumed(ask("stopped", **small), **two))


@pytest.mark.slow
def test_shards_are_not_taken_for_a_whole_model(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint of another kind of launch is passed over: the training begins anew instead of failing for ever."""
    request_stop(ask("stopped").checkpoints)
    with pytest.raises(Stopped):
        resumed(ask("stopped"), batch_size=4)
    request = ask("stopped")
    Path(request.checkpoints, "STOP").unlink()
    two = {"launch": "fsdp2", "processes": 2, "batch_size": 4}
    small = ask("stopped", args={"per_device_train_batch_size": 2})
    assert resumed(small, **two).steps == 24
    log = Path(small.output, "launch", "processes.log").read_text()
    assert "is not resumed: it belongs to another training" in log


def test_a_training_that_is_asked_to_stop_saves_and_stops(ask: Ask) -> None:
    request = ask("stopped")
    request_stop(request.checkpoints)
    with pytest.raises(Stopped, match="training stopped at step 1"):
        resumed(request)
    Path(request.checkpoints, "STOP").unlink()
    assert [step_of(seal) for seal in seals(request)] == [1]
    assert same_weights(resumed(ask("unbroken")), resumed(ask("stopped")))


def test_an_older_checkpoint_goes_when_a_newer_one_is_sealed(ask: Ask) -> None:
    request = ask("often")
    resumed(request, save_every_minutes=OFTEN)
    assert [step_of(seal) for seal in seals(request)] == [23]
