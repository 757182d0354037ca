"""STaR: keep the rationales that reach the answer; for the rest, show the answer, and keep what reaches it then.

Paper: STaR: Bootstrapping Reasoning With Reasoning. Zelikman, Wu, Mu, Goodman, 2022, arXiv 2203.14465.

Round (Algorithm 1):
    1. One (near-greedy) rationale and answer for each problem.
    2. For each problem answered wrongly, one more with the right answer shown as a hint (rationalisation).
    3. Keep what reached the right answer, from both. A kept rationale is trained *without* the hint.
    4. policy = finetune(the original model, kept), with 20 % more steps than in the round before.

Differs: the near-greedy temperature of the released code is 0.01 with top-p 0.9, taken over here; ``shots`` puts
demonstrations before the question (the paper's few-shot prompt, dropped from the training rows as there). ``steps: 0``
leaves the length of training to ``training.args`` instead of the paper's 40 steps growing by 20 % a round. ``start:
initial`` is the paper's choice; with a warm-up, ``base`` is the model to name.

Run: ``selfimprove run star-tiny``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selfimprove import Policy, Round, demonstrations, few_shot, first, hint, mix


@dataclass(frozen=True)
class StarConfig:
    """``hint`` shows a problem with its answer: ``{prompt}`` and ``{answer}`` are filled in."""

    temperature: float = 0.01
    top_p: float = 0.9
    rationalise: bool = True
    hint: str = "{prompt} ({answer})"
    shots: int = 0
    steps: int = 40
    growth: float = 1.2
    start: Literal["initial", "base", "previous", "best"] = "initial"
    args: Mapping[str, Any] = field(default_factory=dict)


def star(round: Round, config: StarConfig) -> Policy:
    decoding: dict[str, Any] = {"temperature": config.temperature, "top_p": config.top_p}
    shots = round.demonstrations[: config.shots]
    plain = round.attempt(view=few_shot(shots) if shots else None, **decoding)
    kept = [demonstrations(plain, first(1))]
    unsolved = [group.problem for group in plain if not group.solved]
    if config.rationalise and unsolved:
        shown = few_shot(shots, hint(config.hint))
        hinted = round.attempt(unsolved, view=shown, name="rationalise", **decoding)
        kept.append(demonstrations(hinted, first(1)))
    steps = {"max_steps": round_steps(config, round.index)} if config.steps else {}
    return round.train(mix(*kept), start=config.start, args={**steps, **config.args})


def round_steps(config: StarConfig, index: int) -> int:
    """The paper's schedule: 40 steps, 20 % more each round."""
    return int(config.steps * config.growth ** (index - 1))
