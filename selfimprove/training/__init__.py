"""Finetuning: a file of examples and a start policy in, a directory of weights out.

Contract: a `Trainer` lives in its own process and is told what to do with nouns, strings and paths only. Two exist:
`selfimprove.training.trl.TRLTrainer` (TRL) and `selfimprove.training.recording.RecordingTrainer` (a double without
weights). Each `train` starts from files, so a training never depends on what the process trained before.

See it work: ``pytest tests/training``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from selfimprove.types import TrainRequest, TrainResult


class Trainer(Protocol):
    """What trains. Built where it runs as ``Cls(config, model)``: the ``training`` and ``model`` parts of a config."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any]) -> None: ...

    def warm(self) -> None:
        """Pay for imports now instead of in the first training."""

    def build(self, spec: str, args: Mapping[str, Any], output: str) -> str:
        """Run the model builder ``spec`` (``package.module:function``) as ``function(output, **args)``."""

    def train(self, request: TrainRequest) -> TrainResult:
        """Run one training and write its result under ``request.output``."""
