"""`CommandTrainer`: any other trainer, run as a command.

Contract: the command in ``training.command`` is started once for each training, with one more argument: a JSON file
that says what to do. ``rows`` is a Parquet file with a row per example, as the very ids to be trained on
(``prompt_ids``, ``completion_ids`` or ``chosen_ids`` and ``rejected_ids``, ``weight``); ``start`` and ``reference`` are
model directories, ``objective`` is sft or dpo, ``args`` are ``training.args`` as they stand, ``seed`` is a number, and
``output`` is where the model must be when the command ends: a directory that transformers and vLLM load. What it prints
goes to ``command.log`` beside it; ``metrics.json`` in it, if there is one, is kept. Any other exit code than 0 is an
error, and nothing is kept.

See it work: ``pytest tests/training/test_command.py``.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.store.tables import read_examples
from selfimprove.training import models, rows
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import TrainRequest, TrainResult

NAMES = {"sft": ("completion_ids",), "dpo": ("chosen_ids", "rejected_ids")}


class CommandTrainer(TRLTrainer):
    """Trains with a command of the user's; models are built as by `TRLTrainer`."""

    def train(self, request: TrainRequest) -> TrainResult:
        """Run the command once.

        ConfigError if it fails (with its last words) or if an adapter is asked for, Starved without rows,
        PreconditionError if it cannot be started or what it wrote is no model.
        """
        if request.lora is not None or request.start.adapter is not None:
            raise ConfigError("training.lora: a command trains whole models; what it does inside is its own affair")
        began, output = time.monotonic(), Path(request.output)
        start = models.local(request.start.source)
        encoded = rows.encode(
            request.objective,
            read_examples(Path(request.examples)),
            rows.encoder_of(start, self.model, request.max_tokens),
        )
        _write(encoded, request.objective, output / "rows.parquet")
        model = output / "model"
        told = {
            "objective": request.objective,
            "rows": str(output / "rows.parquet"),
            "start": str(start),
            "reference": request.reference.source if request.reference else None,
            "output": str(model),
            "args": dict(request.args),
            "seed": request.seed,
        }
        (output / "request.json").write_text(json.dumps(told, indent=1))
        self._run(output, model)
        metrics = json.loads((model / "metrics.json").read_text()) if (model / "metrics.json").is_file() else {}
        numbers = {str(name): float(value) for name, value in metrics.items()}
        steps, count, seconds = int(numbers.get("steps", 0)), len(encoded.kept), time.monotonic() - began
        return TrainResult(str(model), None, steps, count, encoded.dropped, numbers, {"train": seconds})

    def _run(self, output: Path, model: Path) -> None:
        command = [*self.config["command"], str(output / "request.json")]
        log = output / "command.log"
        try:
            with log.open("wb") as words:
                code = subprocess.run(command, stdout=words, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            raise PreconditionError(f"training.command: {command[0]!r} cannot be started: {error}") from error
        if code:
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise ConfigError(f"training.command ended with exit code {code}: {' | '.join(last)}", hint=f"see {log}")
        if not model.is_dir():
            raise PreconditionError(f"training.command wrote no model to {model}", hint=f"see {log}")
        models.check(model)


def _write(encoded: rows.Rows, objective: str, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table: dict[str, list[Any]] = {"prompt_ids": [list(r.sequences[0][: r.prompt_len]) for r in encoded.kept]}
    for side, name in enumerate(NAMES[objective]):
        table[name] = [list(row.sequences[side][row.prompt_len :]) for row in encoded.kept]
    table["weight"] = [row.weight for row in encoded.kept]
    pq.write_table(pa.table(table), file)
