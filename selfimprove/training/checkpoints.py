"""Checkpoints within one training: saved every few minutes, sealed when they are whole, resumed only if they verify.

Contract: a checkpoint counts once ``SEAL.json`` lies in it, written last: it names every file with its size and digest,
and what the training is (rows, start, options, versions). `newest` gives the last one that belongs to this training and
whose files are what they were; anything else is passed over with a line in the log. The rule when the number of
processes has changed is *same rows per step*: a checkpoint is resumed if each optimiser step takes as many rows as
before, and else the training begins anew. An older checkpoint is deleted after the newer one is sealed, never before.

See it work: ``pytest tests/training/test_checkpoints.py``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.store.digest import digest, digest_file
from selfimprove.store.files import sync_dir, sync_file
from selfimprove.training.rows import Rows
from selfimprove.types import TrainRequest

SEAL, STOP = "SEAL.json", "STOP"
SPLITS = ("per_device_train_batch_size", "gradient_accumulation_steps")
log = logging.getLogger(__name__)


@dataclass
class Keeper:
    """Where one training's checkpoints lie, what it is, and how often one is saved.

    ``attempt`` names this attempt at it, in all its processes.
    ``lost`` sums the losses of the steps before the one that was resumed, which TRL forgets.
    """

    folder: Path
    identity: str
    every_s: float
    attempt: str
    stopped: bool = False
    lost: float = 0.0

    @property
    def output(self) -> Path:
        """Where this attempt writes: no other one does."""
        return self.folder / f"c-{digest(self.attempt)[:12]}"

    def asked_to_stop(self) -> bool:
        return (self.folder / STOP).exists()

    def newest(self) -> Path | None:
        """The newest sealed checkpoint of this training that is undamaged."""
        for path in sorted(self.folder.glob("c-*/checkpoint-*"), key=_step, reverse=True):
            why = self._refused(path)
            if not why:
                self.lost = float(json.loads((path / SEAL).read_text())["loss"])
                log.info("training goes on at step %d", _step(path))
                return path
            log.warning("%s is not resumed: %s", path, why)
        return None

    def _refused(self, path: Path) -> str:
        try:
            seal = json.loads((path / SEAL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return "it is not whole"
        if seal["identity"] != self.identity:
            return "it belongs to another training (rows, options, rows per step or versions differ)"
        for name, (size, stamp) in seal["files"].items():
            file = path / name
            if not file.is_file() or file.stat().st_size != size or digest_file(file) != stamp:
                return f"{name} is damaged"
        return ""

    def seal(self, path: Path, loss: float) -> None:
        """Make ``path`` count, then delete what came before it. ``loss`` is the sum over all steps so far."""
        files = sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            sync_file(file)
        stamps = {str(file.relative_to(path)): (file.stat().st_size, digest_file(file)) for file in files}
        body = {"identity": self.identity, "loss": loss, "files": stamps}
        fresh = path / (SEAL + ".new")
        fresh.write_text(json.dumps(body), encoding="utf-8")
        sync_file(fresh)
        os.replace(fresh, path / SEAL)
        sync_dir(path)
        sync_dir(path.parent)
        for older in [*self.folder.glob("c-*/checkpoint-*")]:
            if older != path:
                shutil.rmtree(older, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2]) if path.name.rpartition("-")[2].isdigit() else -1


def identity(request: TrainRequest, rows: Rows, rows_per_step: int, form: str) -> str:
    """What a training's weights depend on, once its rows are read; ``form`` is how its checkpoints are written."""
    import accelerate
    import torch
    import transformers
    import trl
    from blake3 import blake3

    hasher = blake3()
    for row in rows.kept:
        hasher.update(f"{row.prompt_len} {row.weight!r} {len(row.sequences)}\n".encode())
        for sequence in row.sequences:
            hasher.update(len(sequence).to_bytes(4, "little") + sequence.tobytes())
    names = ("objective", "lora", "adapter", "dtype", "seed", "max_tokens", "quantize")
    args = {name: value for name, value in request.args.items() if name not in SPLITS}
    against = request.reference.digest if request.reference else None
    versions = [module.__version__ for module in (torch, transformers, trl, accelerate)]
    chosen = {name: getattr(request, name) for name in names}
    return digest([hasher.hexdigest(), chosen, args, request.start.digest, against, rows_per_step, form, versions])


def request_stop(folder: str) -> None:
    """Ask the training that keeps its checkpoints in ``folder`` to save one and stop."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, STOP).touch()


def callback(keeper: Keeper, trainer: Any) -> Any:
    """The callback that saves when it is time, or when a stop is asked for; all processes decide alike."""
    from transformers import TrainerCallback

    class Saving(TrainerCallback):
        def __init__(self) -> None:
            self.last = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                return  # the result itself is about to be saved
            stop = keeper.asked_to_stop()
            due, stop = _agreed(args, stop or time.monotonic() - self.last >= keeper.every_s, stop)
            if due:
                control.should_save = control.should_log = True  # a loss that is not logged is not saved either
            if stop:
                control.should_training_stop = keeper.stopped = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            trainer.accelerator.wait_for_everyone()
            if trainer.is_world_process_zero():
                keeper.seal(keeper.output / f"checkpoint-{state.global_step}", keeper.lost + trainer.logged_loss)
            trainer.accelerator.wait_for_everyone()  # a process that went on to its end would have this one ended too
            self.last = time.monotonic()

    return Saving()


def _agreed(args: Any, *flags: bool) -> Iterator[bool]:
    """What the first process says: clocks differ, and a process that saves alone would wait for ever."""
    if args.world_size == 1:
        return iter(flags)
    import torch

    said = torch.tensor([int(flag) for flag in flags], device=args.device)
    torch.distributed.broadcast(said, src=0)
    return iter([bool(flag) for flag in said.tolist()])
