"""Processes of their own: what they are told, what they say when they fail, how they end.

Run: pytest tests/training/test_launch.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, Diverged, EngineDead, PreconditionError
from selfimprove.store.tables import write_examples
from selfimprove.training import launch
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Demonstration, Policy, TrainRequest, TrainResult
from tests.training.conftest import SMALL, demonstrations, same_weights


def trained(folder: Path, model: str, args: dict[str, Any] | None = None, **config: Any) -> TrainResult:
    (folder / "out").mkdir(parents=True)
    write_examples(folder / "rows.parquet", demonstrations(8), Demonstration)
    request = TrainRequest(
        "sft",
        str(folder / "rows.parquet"),
        Policy(model, "tiny"),
        str(folder / "out"),
        args={**SMALL, **(args or {})},
        dtype="float32",
    )
    return TRLTrainer({"threads": 1, **config}, {}).train(request)


def interpreter(folder: Path, lines: str) -> str:
    """Another environment's interpreter: this one, behind a script."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{lines}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_another_interpreter_trains_the_same_weights(tiny: str, tmp_path: Path) -> None:
    """Only paths, ids and numbers cross; nothing of this environment does."""
    python = interpreter(tmp_path, f'test -z "$VIRTUAL_ENV" || exit 9; touch {tmp_path}/used')
    here = trained(tmp_path / "here", tiny)
    there = trained(tmp_path / "there", tiny, python=python)
    assert same_weights(here, there) and (tmp_path / "used").exists()
    assert there.metrics["loss"] == here.metrics["loss"]


@pytest.mark.slow
def test_an_error_of_a_process_is_the_error_of_the_training(tiny: str, tmp_path: Path) -> None:
    python = interpreter(tmp_path, "")
    with pytest.raises(ConfigError, match=r"learning_rat: SFTConfig has no such option"):
        trained(tmp_path / "misspelt", tiny, {"learning_rat": 1}, python=python)
    with pytest.raises(Diverged, match="training diverged"):
        trained(tmp_path / "wild", tiny, {"learning_rate": 1e30, "max_steps": 5, "max_grad_norm": 0.0}, python=python)


def test_processes_that_die_without_a_word(tiny: str, tmp_path: Path) -> None:
    python = interpreter(tmp_path, "echo MemoryError: no more; exit 3")
    with pytest.raises(EngineDead, match="ended with exit code 3: MemoryError: no more") as raised:
        trained(tmp_path / "a", tiny, python=python)
    assert raised.value.hint.endswith("processes.log")
    with pytest.raises(PreconditionError, match="cannot be started"):
        trained(tmp_path / "b", tiny, python=str(tmp_path / "nothing"))


def test_another_release_is_refused(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_release", lambda: "0.0.1")
    with pytest.raises(PreconditionError, match=r"this is 0\.0\.1"):
        trained(tmp_path / "a", tiny, python=interpreter(tmp_path, ""))


def test_what_accelerate_is_told(tmp_path: Path) -> None:
    for kind in launch.KINDS:
        told = launch.plan({"launch": kind}, 8)
        assert (told["num_processes"], told["use_cpu"], told["num_machines"]) == (8, False, 1)
    assert launch.plan({"launch": "fsdp2", "processes": 2}, 0)["use_cpu"]
    own = tmp_path / "own.yaml"
    said = {"fsdp_version": 2, "fsdp_offload_params": True}
    own.write_text(json.dumps({"distributed_type": "FSDP", "num_processes": 4, "fsdp_config": said}))
    told = launch.plan({"launch": str(own)}, 8)
    assert told["num_processes"] == 4 and told["fsdp_config"] == said
    assert launch.plan({"launch": str(own), "processes": 2}, 8)["num_processes"] == 2
    with pytest.raises(ConfigError, match="without a GPU, say how many"):
        launch.plan({"launch": "ddp"}, 0)
    with pytest.raises(ConfigError, match="is 9, but the trainer has 8 GPUs"):
        launch.plan({"launch": "ddp", "processes": 9}, 8)


def test_zero_needs_deepspeed(tiny: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("deepspeed") is not None:
        pytest.skip("DeepSpeed is installed here")
    with pytest.raises(PreconditionError, match="ZeRO needs DeepSpeed"):
        trained(tmp_path / "a", tiny, launch="zero3", processes=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "cannot be read"),
        ("num_processes: 2", "no distributed_type"),
        ("distributed_type: FSDP\nnum_machines: 2", "names 2 machines"),
    ],
)
def test_files_that_are_not_for_us(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        launch.accelerate_file(str(path))


@pytest.mark.parametrize(
    ("config", "there", "taken"),
    [
        ({}, 8, 1),
        ({}, 0, 0),
        ({"launch": "ddp"}, 8, 8),
        ({"launch": "ddp", "processes": 4}, 8, 4),
        ({"launch": "ddp", "processes": 4}, 0, 0),
    ],
)
def test_how_many_gpus_a_training_takes(config: dict[str, Any], there: int, taken: int) -> None:
    assert launch.gpus(config, there) == taken


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux process handling")
def test_processes_end_with_whoever_started_them(tiny: str, tmp_path: Path) -> None:
    """SIGKILL to the trainer while two processes train: none is left half a minute later."""
    program = f"""
from pathlib import Path
from tests.training.test_launch import trained
trained(Path({str(tmp_path)!r}) / "a", {tiny!r}, {{"max_steps": 10**6}}, launch="ddp", processes=2, batch_size=4)
"""
    root = Path(__file__).parents[2]
    small = program.replace("10**6}", '10**6, "per_device_train_batch_size": 2}')
    process = subprocess.Popen([sys.executable, "-c", small], cwd=root, env=dict(os.environ))
    until = time.monotonic() + 90
    log = tmp_path / "a" / "out" / launch.FOLDER / launch.LOG
    while not (log.exists() and "loss" in log.read_text()) and len(ranks(tmp_path)) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    assert len(ranks(tmp_path)) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 40
    while ranks(tmp_path):
        assert time.monotonic() < until, ranks(tmp_path)
        time.sleep(0.2)


def ranks(folder: Path) -> list[int]:
    """Processes of a training that writes below ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "selfimprove.training.rank" in words and str(folder) in words:
            found.append(int(path.parent.name))
    return found


def test_a_result_is_as_it_was_written(tmp_path: Path) -> None:
    start, against = Policy("a", "1", adapter="x"), Policy("b", "2")
    request = TrainRequest("dpo", "rows", start, "out", reference=against, lora={"r": 4})
    assert launch.request_of(json.loads(json.dumps(asdict(request)))) == request
