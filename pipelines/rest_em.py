"""ReST-EM: sample, keep what a binary reward accepts, finetune the base on it; repeat with the new sampler.

Paper: Beyond Human Data: Scaling Self-Training for Problem-Solving with Language Models. Singh et al., 2023,
arXiv 2312.06585.

Round (Algorithm 1):
    1. E-step: D = k samples for each problem from the current policy, at temperature 0.7.
    2. Keep the samples with reward 1, at most ``cap`` = 10 different ones per problem.
    3. M-step: policy = argmax sum log p(y | x) over D, starting from the *base* (not from the last policy).
    4. Go on while the held-out reward improves (two or three rounds).

Differs: top-k 40 and the few-shot prompt of the paper are left to ``params`` and to your data. ``carry: accumulate``
(train on every round's samples), ``demonstrations: true`` (add the human solutions) and ``start: previous`` are not in
the paper; the quickstart uses them because a tiny model cannot afford to forget.

Run: ``selfimprove run quickstart``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selfimprove import Policy, Round, demonstrations, distinct, gold, mix, passed


@dataclass(frozen=True)
class RestEmConfig:
    """``args`` override ``training.args`` and ``params`` the sampling parameters, by their native names."""

    samples: int = 32
    temperature: float = 0.7
    cap: int | None = 10
    start: Literal["initial", "base", "previous", "best"] = "base"
    carry: Literal["replace", "accumulate"] = "replace"
    demonstrations: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


def rest_em(round: Round, config: RestEmConfig) -> Policy:
    groups = round.attempt(n=config.samples, temperature=config.temperature, **config.params)
    pools = [*round.history(), groups] if config.carry == "accumulate" else [groups]
    own = mix(*(demonstrations(pool, passed(cap=config.cap)) for pool in pools))
    human = gold(round.demonstrations if config.demonstrations else [])
    return round.train(distinct(mix(human, own)), start=config.start, args=config.args)
