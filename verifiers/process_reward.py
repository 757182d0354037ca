"""A process reward model scores an answer step by step.

Contract: with ``good`` a number, a token classifier whose label ``good`` (of two; or the sigmoid of one) at each step's
last token says that the step is right, as TRL's PRM trainer makes them; with ``good`` and ``bad`` two texts, a language
model whose next token after each step is read, their probabilities normalised over the two. Steps end with
``separator``, which the model sees. A step's scores become the sample's by ``aggregate``.

Papers: Lightman et al. 2023, arXiv 2305.20050; Wang et al. 2023, arXiv 2312.08935 (Math-Shepherd). See it work:
``pytest tests/verifiers/test_models.py``.
"""

from __future__ import annotations

import math
from typing import Any

from selfimprove import Problem, Sample, Verdict, conversation, erring, failing, passing
from selfimprove.judging import heads

MEMORY_MB = 1_000_000  # of address space, of which CUDA reserves much more than it uses
WORKERS = 1
AGGREGATES = ("min", "product", "mean", "last")


class process_reward:
    """Options: ``model``, ``threshold`` of the aggregated probability, ``aggregate`` (of `AGGREGATES`), ``separator``,
    ``good`` and ``bad``, ``device``, ``dtype``. The verdict's ``steps`` are the steps' probabilities.
    """

    def __init__(
        self,
        model: str,
        threshold: float = 0.5,
        aggregate: str = "min",
        separator: str = "\n\n",
        good: int | str = 1,
        bad: str = "",
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        if aggregate not in AGGREGATES or not separator:
            raise ValueError(f"aggregate is {aggregate!r}, one of {', '.join(AGGREGATES)}; the separator is a text")
        self.threshold, self.aggregate, self.separator = threshold, aggregate, separator
        generative = isinstance(good, str)
        self.scorer = heads.Scorer(model, "CausalLM" if generative else "TokenClassification", device, dtype, 1)
        if isinstance(good, str):
            self.labels = [self._token(bad), self._token(good)]
        else:
            count = self.scorer.model.config.num_labels
            if count > 2 or good not in (0, 1):
                raise ValueError(
                    f"{model} has {count} labels and good is {good}: one label, or two of which good is one"
                )
            self.labels = [] if count == 1 else [1 - good, good]

    def __call__(self, problem: Problem, sample: Sample) -> Verdict:
        ids, ends = self._steps(problem, sample.prefix + sample.completion)
        try:
            self.scorer.checked(ids)
        except ValueError as error:
            return erring("too_long", str(error))
        ((_, logits),) = self.scorer.logits([ids])
        steps = [self._right(logits[end]) for end in ends]
        whole = {"min": min(steps), "mean": sum(steps) / len(steps), "last": steps[-1], "product": math.prod(steps)}
        score = whole[self.aggregate]
        said = f"{self.aggregate} of {len(steps)} steps: {score:.3f}"
        return (passing if score >= self.threshold else failing)(said, score=score, steps=steps)

    def _steps(self, problem: Problem, text: str) -> tuple[list[int], list[int]]:
        """Token ids, and where each step ends."""
        tokenizer = self.scorer.tokenizer
        if tokenizer.chat_template:
            rows = conversation(problem.prompt)[0]
            said = tokenizer.apply_chat_template(rows, tokenize=True, add_generation_prompt=True, return_dict=True)
            ids = list(said["input_ids"])
        else:
            ids = list(tokenizer(problem.text + "\n")["input_ids"])
        ends = []
        for step in [part for part in text.split(self.separator) if part.strip()] or [text]:
            ids += tokenizer(step + self.separator, add_special_tokens=False)["input_ids"]
            ends.append(len(ids) - 1)
        return ids, ends

    def _token(self, text: str) -> int:
        ids = self.scorer.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ValueError(f"{text!r} is {len(ids)} tokens of the model; good and bad must be one each")
        return int(ids[0])

    def _right(self, logits: Any) -> float:
        if not self.labels:
            return float(logits[0].sigmoid())
        return float(logits[self.labels].softmax(0)[1])
