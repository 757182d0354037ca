"""One and two processes end with the same weights. Run: pytest tests/training/test_ranks.py"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.store.tables import write_examples
from selfimprove.types import Example
from tests.training.conftest import SMALL, demonstration, pair

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def trained(folder: Path, tiny: str, rows: list[Example], ranks: int, args: dict[str, Any]) -> dict[str, Any]:
    """The weights that the first rank writes."""
    from safetensors.torch import load_file

    objective = "sft" if hasattr(rows[0], "completion") else "dpo"
    folder.mkdir()
    write_examples(folder / "rows.parquet", rows, type(rows[0]))
    told = {"objective": objective, "examples": str(folder / "rows.parquet"), "start": tiny}
    (folder / "r.json").write_text(json.dumps({**told, "output": str(folder / "out"), "args": {**SMALL, **args}}))
    port, running = free_port(), []
    for rank in range(ranks):
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        environment = {**os.environ, **(world if ranks > 1 else {"RANK": "0"}), "MASTER_PORT": str(port)}
        command = [sys.executable, "-m", "tests.training.ranks", str(folder / "r.json")]
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said[-3000:]
    return dict(load_file(folder / "out-0" / "model" / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_two_gloo_processes_end_as_one_does(tiny: str, tmp_path: Path, objective: str) -> None:
    """Rows of different lengths and weights, so that a mean over each process's own tokens would be another one."""
    if objective == "sft":
        rows: list[Example] = [demonstration([20 + i] * (i % 5 + 1) + [2], 0.5 * (i % 3 + 1), (1, 5)) for i in range(8)]
    else:
        rows = [pair([20 + i, 2], [40 + i] * (i % 3 + 1) + [2], 0.5 * (i % 3 + 1), (1, 5)) for i in range(8)]
    # Plain steps: Adam would hide a loss that is off by a factor.
    args = {"max_steps": 3, "learning_rate": 0.5, "optim": "sgd", "max_grad_norm": 0.0}
    one = trained(tmp_path / "one", tiny, rows, 1, {**args, "per_device_train_batch_size": 4})
    two = trained(tmp_path / "two", tiny, rows, 2, {**args, "per_device_train_batch_size": 2})
    split = {**args, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    parts = trained(tmp_path / "parts", tiny, rows, 1, split)
    for name, values in one.items():
        assert (values - parts[name]).abs().max() < 1e-5, name
        assert (values - two[name]).abs().max() < 1e-5, name
