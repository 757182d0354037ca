"""RFT: rejection-sampling finetuning, where the gain comes from the number of *different* reasoning paths.

Paper: Scaling Relationship on Learning Mathematical Reasoning with Large Language Models. Yuan et al., 2023,
arXiv 2308.01825.

Round (once):
    1. k = 100 samples for each problem at temperature 0.7.
    2. Keep the right answers whose equations ``<<lhs=rhs>>`` all hold.
    3. One solution for each list of equations; of two with the same list, the one farther (by summed edit distance)
       from the others kept.
    4. policy = finetune(base, human solutions + kept), 3 epochs.

Differs: a solution without any equation passes step 2, as in the released code; its text then stands for its
equations. Equations are checked by exact arithmetic, never by ``eval``. Pooling over several models is left out.

Run: ``selfimprove run rft-tiny``
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selfimprove import Attempt, Group, Policy, Round, demonstrations, distinct, equations_hold, farthest, gold, mix


@dataclass(frozen=True)
class RftConfig:
    """``args`` override ``training.args`` (native TRL options)."""

    samples: int = 100
    temperature: float = 0.7
    cap: int | None = None
    demonstrations: bool = True
    start: Literal["initial", "base", "previous", "best"] = "base"
    args: Mapping[str, Any] = field(default_factory=lambda: {"num_train_epochs": 3})


def rft(round: Round, config: RftConfig) -> Policy:
    groups = round.attempt(n=config.samples, temperature=config.temperature)
    choose = farthest(config.cap)

    def paths(group: Group) -> tuple[Attempt, ...]:
        sound = tuple(a for a in group.attempts if equations_hold(a.sample.completion))
        return choose(replace(group, attempts=sound))

    human = gold(round.demonstrations if config.demonstrations else [])
    return round.train(distinct(mix(human, demonstrations(groups, paths))), start=config.start, args=config.args)
