"""Supervised finetuning on demonstrations: the warm-up before a loop, and the control beside one.

Paper: none; the step that every method here starts from ("sft0", "D_SFT").

Round:
    1. D = every problem that comes with a human solution.
    2. policy = finetune(start, D).

Differs: nothing is sampled and nothing is judged.

Run: ``selfimprove run quickstart-control``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selfimprove import Policy, Round, gold


@dataclass(frozen=True)
class SftConfig:
    """``args`` override ``training.args`` (native TRL options) for this recipe."""

    start: Literal["initial", "base", "previous", "best"] = "previous"
    args: Mapping[str, Any] = field(default_factory=dict)


def sft(round: Round, config: SftConfig) -> Policy:
    return round.train(gold(round.demonstrations), start=config.start, args=config.args)
