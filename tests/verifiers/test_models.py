"""Verifiers that are models, on tiny ones. Run: pytest tests/verifiers/test_models.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from selfimprove.verifiers.likelihood import likelihood
from selfimprove.verifiers.process_reward import process_reward
from selfimprove.verifiers.reward_model import reward_model

from selfimprove.errors import PreconditionError
from selfimprove.judging import Reply
from selfimprove.testing import tiny_llama
from selfimprove.types import Problem, Sample, messages
from selfimprove.verify import VerifierPool
from tests.verify.support import collect

PROBLEM = Problem("p", messages("How many?"), "4")
TEXTS = ("4", "It is 12.\n\nSo it is 4.\n\nDone.", "no", "a longer answer of many words, and no number")


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"s/{i}", "p", i, "", "", [], text, [1] * len(text), "stop", i, "") for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(str(tmp_path_factory.mktemp("tiny") / "model"), hidden_size=32, layers=2, heads=2)


def headed(tiny: str, kind: str, labels: int, output: Path) -> str:
    """The tiny model with a head of random weights."""
    import torch
    import transformers

    torch.manual_seed(3)
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(tiny, num_labels=labels, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return str(output)


def test_a_reward_model_keeps_the_best(tiny: str, tmp_path: Path) -> None:
    model = headed(tiny, "SequenceClassification", 1, tmp_path / "rm")
    found = reward_model(model)(PROBLEM, samples(*TEXTS))
    scores = [verdict.score for verdict in found]
    assert [verdict.passed for verdict in found] == [score == max(scores) for score in scores]
    alone = [reward_model(model, batch=1)(PROBLEM, samples(text))[0].score for text in TEXTS]
    assert scores == pytest.approx(alone, abs=1e-5), "padding changes nothing"
    middle = sorted(scores)[1]
    assert [v.passed for v in reward_model(model, at_least=middle)(PROBLEM, samples(*TEXTS))] == [
        s >= middle for s in scores
    ]


def test_a_sample_that_does_not_fit_is_an_error_and_the_others_are_judged(tiny: str, tmp_path: Path) -> None:
    model = headed(tiny, "SequenceClassification", 1, tmp_path / "rm")
    judge = reward_model(model)
    judge.scorer.context = 60
    found = judge(PROBLEM, samples("4", "x " * 200))
    assert [verdict.error or verdict.outcome for verdict in found] == ["pass", "too_long"]


def test_several_scores_need_a_choice(tiny: str, tmp_path: Path) -> None:
    model = headed(tiny, "SequenceClassification", 3, tmp_path / "rm")
    with pytest.raises(ValueError, match="3 scores: say which one in the option label"):
        reward_model(model)
    one, two = (reward_model(model, label=label)(PROBLEM, samples("4"))[0].score for label in (0, 2))
    assert one != two


def test_a_model_without_a_head_is_refused(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="nowhere: no SequenceClassification model"):
        reward_model(str(tmp_path / "nowhere"))
    with pytest.raises(PreconditionError, match=r"its weights lack score\.weight"):
        reward_model(tiny)


@pytest.mark.parametrize("labels", [1, 2])
def test_steps_are_scored_at_their_ends(tiny: str, tmp_path: Path, labels: int) -> None:
    model = headed(tiny, "TokenClassification", labels, tmp_path / "prm")
    judge = process_reward(model, aggregate="min", threshold=0.0)
    whole = judge(PROBLEM, samples(TEXTS[1])[0])
    assert len(whole.steps) == 3 and whole.score == min(whole.steps) and whole.passed
    begun = judge(PROBLEM, samples("It is 12.\n\nSo it is 4.")[0])
    assert begun.steps == pytest.approx(whole.steps[:2], abs=1e-5), "a step's score knows nothing of later ones"
    if labels == 2:
        bad = process_reward(model, good=0, threshold=0.0)(PROBLEM, samples(TEXTS[1])[0])
        assert bad.steps == pytest.approx([1 - step for step in whole.steps], abs=1e-5)


def test_aggregates(tiny: str, tmp_path: Path) -> None:
    model = headed(tiny, "TokenClassification", 2, tmp_path / "prm")
    found = {
        a: process_reward(model, aggregate=a)(PROBLEM, samples(TEXTS[1])[0]) for a in ("min", "product", "mean", "last")
    }
    one, two, three = found["min"].steps
    assert found["product"].score == pytest.approx(one * two * three)
    assert found["mean"].score == pytest.approx((one + two + three) / 3) and found["last"].score == three
    with pytest.raises(ValueError, match="one of min, product, mean, last"):
        process_reward(model, aggregate="max")


def test_a_language_model_says_good_or_bad(tiny: str) -> None:
    judge = process_reward(tiny, good="+", bad="-", threshold=0.0)
    steps = judge(PROBLEM, samples(TEXTS[1])[0]).steps
    swapped = process_reward(tiny, good="-", bad="+", threshold=0.0)(PROBLEM, samples(TEXTS[1])[0]).steps
    assert steps == pytest.approx([1 - step for step in swapped], abs=1e-5) and len(steps) == 3
    with pytest.raises(ValueError, match="must be one each"):
        process_reward(tiny, good="good", bad="bad")


def test_through_the_pool_one_worker_holds_the_model(tiny: str, tmp_path: Path) -> None:
    model = headed(tiny, "SequenceClassification", 1, tmp_path / "rm")
    config = {"name": "reward_model", "args": {"model": model}, "timeout_s": 60.0}
    with VerifierPool(config) as pool:
        assert pool.workers == 1
        pool.submit(1, [(PROBLEM, sample) for sample in samples(*TEXTS)])
        found = collect(pool)[1]
    assert sum(verdict.passed for verdict in found) == 1


def replied(*logprobs: float | None) -> list[Reply]:
    return [Reply(None, "stop", logprob) for logprob in logprobs]


def outcomes(found: Any) -> list[str]:
    return [verdict.error or verdict.outcome for verdict in found]


def test_likelihood_per_token_or_in_all() -> None:
    asked = samples("ab", "abcdef", "", "abc")
    questions = likelihood().questions(PROBLEM, asked)
    assert [question.continuation for question in questions] == ["ab", "abcdef", "abc"]
    replies = replied(-2.0, -3.0, None)
    assert outcomes(likelihood().verdicts(PROBLEM, asked, replies)) == ["fail", "pass", "fail", "unscored"]
    whole = likelihood(per="sequence").verdicts(PROBLEM, asked, replies)
    assert outcomes(whole) == ["pass", "fail", "fail", "unscored"] and whole[1].score == -3.0
    assert outcomes(likelihood(at_least=-0.4).verdicts(PROBLEM, asked, replied(-1, -3, -1)))[:2] == ["fail", "fail"]
