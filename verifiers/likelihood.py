"""How likely a policy finds an answer: the policy itself, or the one that `verifier.policy` names.

Contract: asks for the log-probability of each completion after its question, in one batch for the whole step. ``score``
is that in nats, per token (``per: token``) or in all (``per: sequence``). The best ``keep`` samples of a problem pass,
or all from ``at_least`` on. What a policy cannot score is an error.

Papers: self-likelihood as a filter in Kadavath et al. 2022, arXiv 2207.05221, section 2. See it work: ``pytest
tests/verifiers/test_models.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, erring, failing, passing
from selfimprove.judging import Question, Reply


class likelihood:
    """Options: ``keep`` or ``at_least``, ``per`` (``token`` or ``sequence``)."""

    def __init__(self, keep: int = 1, at_least: float | None = None, per: str = "token") -> None:
        if keep < 1 or per not in ("token", "sequence"):
            raise ValueError(f"keep is {keep} and per {per!r}: from 1 on, and token or sequence")
        self.keep, self.at_least, self.per = keep, at_least, per

    def questions(self, problem: Problem, samples: Sequence[Sample]) -> list[Question]:
        """One scored continuation for each sample that is not empty."""
        return [Question(problem.prompt, continuation=_text(sample)) for sample in samples if _text(sample)]

    def verdicts(self, problem: Problem, samples: Sequence[Sample], replies: Sequence[Reply]) -> list[Verdict]:
        stream = iter(replies)
        scores: list[float | None] = []
        for sample in samples:
            logprob = next(stream).logprob if _text(sample) else None
            length = max(1, len(sample.token_ids)) if self.per == "token" else 1
            scores.append(None if logprob is None else logprob / length)
        ranked = sorted((p for p, score in enumerate(scores) if score is not None), key=lambda p: -(scores[p] or 0.0))
        good = set(ranked[: self.keep])
        if self.at_least is not None:
            good = {p for p in ranked if (scores[p] or 0.0) >= self.at_least}
        found = []
        for place, score in enumerate(scores):
            if not _text(samples[place]):
                found.append(failing("empty"))
            elif score is None:
                found.append(erring("unscored", "the policy gave no log-probability"))
            else:
                verdict = passing if place in good else failing
                found.append(verdict(f"{score:.3f} nats per {self.per}", score=score))
        return found


def _text(sample: Sample) -> str:
    return sample.prefix + sample.completion
