"""SPIN: self-play finetuning. The human answer is preferred to the previous model's own answer; no reward at all.

Paper: Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models. Chen et al., 2024,
arXiv 2401.01335.

Round t (Algorithm 1):
    1. y' = one answer of the previous policy to each demonstrated problem, at temperature 1.
    2. Pairs (y preferred to y'): this round's, and the previous round's as well (a window of two).
    3. policy = argmin log(1 + exp(-lambda [log p(y)/p_prev(y) - log p(y')/p_prev(y')])), started from the previous
       policy, which is also the reference and the opponent. This is DPO's sigmoid loss with beta = lambda.

Differs: released code and paper agree on the window (it is in the scripts, not in the algorithm box). lambda is 0.1,
and ``last_beta`` in the last round, as in the scripts (5.0 there). RMSProp and the learning-rate steps of the scripts
are left to ``training.args``. Answers equal to the human one, and truncated ones, make no pair.

Run: ``selfimprove run spin-tiny``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selfimprove import Policy, Round, gold_over_own, mix


@dataclass(frozen=True)
class SpinConfig:
    """``window`` counts rounds whose pairs are trained on, this one included."""

    temperature: float = 1.0
    beta: float = 0.1
    last_beta: float | None = None
    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    window: int = 2
    args: Mapping[str, Any] = field(default_factory=dict)


def spin(round: Round, config: SpinConfig) -> Policy:
    opponent = round.named("previous")
    groups = round.attempt(round.demonstrations, temperature=config.temperature, verifier="none", policy=opponent)
    pools = [*round.history(window=config.window - 1), groups]
    last = config.last_beta is not None and round.is_last
    args = {"beta": config.last_beta if last else config.beta, "loss_type": [config.loss], **config.args}
    return round.train(mix(*map(gold_over_own, pools)), start=opponent, reference=opponent, args=args)
