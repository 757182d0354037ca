"""What our TRL trainers share: a loss that must be a number, and no work that nobody reads.

Contract: a mixin before a TRL trainer class. It changes no figure that a training produces.

See it work: ``pytest tests/training/test_sft.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.errors import Diverged

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


class Lean:
    """Mixin: counts no floating point operations (two passes over all parameters a step) and watches the loss."""

    args: Any
    state: Any
    model: Any
    _total_loss_scalar: float
    _initial_global_step: int

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    @property
    def logged_loss(self) -> float:
        """Sum of the losses that were logged since this training began or was resumed."""
        return self._total_loss_scalar

    @property
    def started_at(self) -> int:
        """The step at which this training began: not 0 if a checkpoint was resumed."""
        return self._initial_global_step

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """TRL would write a card for the hub besides."""
        from transformers import Trainer

        from selfimprove.training.models import disk_full

        with disk_full(Path(self.args.output_dir)):
            Trainer._save_checkpoint(self, model, trial)

    def watched(self, loss: Tensor) -> Tensor:
        """``loss`` itself; Diverged if it is no finite number."""
        if not loss.isfinite():
            raise diverged(f"the loss is {loss.item()} at step {self.state.global_step + 1}")
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)  # type: ignore[misc]
        if "loss" in logs:
            log.info("step %d of %d: loss %.4g", self.state.global_step, self.state.max_steps, logs["loss"])


def diverged(what: str) -> Diverged:
    """The error of a training that left the numbers behind."""
    return Diverged(
        f"training diverged: {what}; nothing was saved",
        hint="lower training.args.learning_rate, add warmup_steps, or set training.dtype to float32",
    )


def check_finite(model: Any) -> None:
    """Diverged if any trained weight is not a finite number: the last step's gradients are in no loss."""
    for name, parameter in model.named_parameters():
        here = parameter.to_local() if hasattr(parameter, "to_local") else parameter  # of a shard, what lies here
        if parameter.requires_grad and not here.isfinite().all():
            raise diverged(f"the weights {name} are not finite after the last step")


def quiet(trainer: Any) -> None:
    """Take out the callbacks that print to the terminal."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def bare_model(model: Any) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    from accelerate.utils import is_peft_model

    return model.get_base_model() if is_peft_model(model) else model


def index_dataset(lengths: list[int], spare: int = 0) -> Any:
    """A data set of row numbers: the rows themselves stay where they are, unhashed and uncopied.

    ``spare`` rows at its end, numbered -1, are there to fill up the last batches of several processes.
    """
    from datasets import Dataset

    rows = [*range(len(lengths)), *[-1] * spare]
    return Dataset.from_dict({"row": rows, "length": [*lengths, *[1] * spare]})


def figures(history: list[Mapping[str, float]], names: Mapping[str, str]) -> dict[str, float]:
    """Last logged value of each of TRL's ``names``, under our name for it."""
    found: dict[str, float] = {}
    for entry in history:
        found |= {ours: float(entry[theirs]) for theirs, ours in names.items() if theirs in entry}
    return found
