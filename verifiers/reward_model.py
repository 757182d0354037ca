"""A reward model says how good an answer is: a sequence classifier with one score.

Contract: any model that transformers' ``AutoModelForSequenceClassification`` loads, in a process of its own. Question
and answer are rendered by its own chat template. The best ``keep`` samples of a problem pass, or all from ``at_least``
on. A sample that does not fit the model is an error.

See it work: ``pytest tests/verifiers/test_models.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, erring, failing, passing
from selfimprove.judging import heads

MEMORY_MB = 1_000_000  # of address space, of which CUDA reserves much more than it uses
WORKERS = 1


class reward_model:
    """Options: ``model`` (a directory or a hub id), ``keep`` or ``at_least``, ``label`` (which of several scores),
    ``device`` (``auto``, ``cpu``, ``cuda:1``), ``dtype``, ``batch``. The verdict's ``score`` is the reward.
    """

    def __init__(
        self,
        model: str,
        keep: int = 1,
        at_least: float | None = None,
        label: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch: int = 8,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}; it must be from 1 on")
        self.keep, self.at_least = keep, at_least
        self.scorer = heads.Scorer(model, "SequenceClassification", device, dtype, batch)
        count = self.scorer.model.config.num_labels
        if label is None and count != 1:
            raise ValueError(f"{model} has {count} scores: say which one in the option label, from 0 on")
        self.label = label or 0
        if self.label >= count:
            raise ValueError(f"label is {label}; {model} has {count} scores")

    def __call__(self, problem: Problem, samples: Sequence[Sample]) -> list[Verdict]:
        rows, errors = [], {}
        for place, sample in enumerate(samples):
            ids = self.scorer.ids(problem.prompt, sample.prefix + sample.completion)
            try:
                self.scorer.checked(ids)
                rows.append((place, ids))
            except ValueError as error:
                errors[place] = erring("too_long", str(error))
        scores = {rows[at][0]: float(found[self.label]) for at, found in self.scorer.logits([ids for _, ids in rows])}
        ranked = sorted(scores, key=lambda place: -scores[place])
        good = set(ranked[: self.keep]) if self.at_least is None else {p for p in ranked if scores[p] >= self.at_least}
        return [
            errors[place]
            if place in errors
            else (passing if place in good else failing)(f"reward {scores[place]:.4g}", score=scores[place])
            for place in range(len(samples))
        ]
