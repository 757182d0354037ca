from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, Diverged
from selfimprove.types import Policy, PreferencePair
from tests.training.conftest import (
    SMALL,
    Train,
    demonstrations,
    distance,
    pair,
    pairs,
    policy_of,
    same_weights,
    token_logprobs,
    weights_of,
)

ONE_STEP: dict[str, Any] = {"max_steps": 1, "logging_steps": 1, "learning_rate": 1e-4}
BETA = 0.3


@pytest.fixture
def start(tiny: str) -> Policy:
    return Policy(tiny, "tiny")


@pytest.fixture
def moved(other: str) -> Policy:
    """A reference that differs from the start."""
    return Policy(other, "other")


def plain_trl(directory: str, reference: str, output: Path, rows: list[PreferencePair], **args: Any) -> dict[str, Any]:
    """The weights that TRL's own trainer makes of the same rows, with the reference passed as a model."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    class IdTrainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    data = {name: [list(getattr(row, name)) for row in rows] for name in names}
    config = DPOConfig(
        str(output),
        **{**SMALL, **args},
        seed=0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        max_length=None,
        disable_tqdm=True,
    )
    model, ref = (
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
        for source in (directory, reference)
    )
    tokenizer = AutoTokenizer.from_pretrained(directory)
    dataset = Dataset.from_dict(data)
    IdTrainer(model, ref, args=config, train_dataset=dataset, processing_class=tokenizer).train()
    return dict(model.state_dict())


LOSSES: list[dict[str, Any]] = [
    {"loss_type": ["sigmoid"], "beta": BETA},
    {"loss_type": ["hinge"]},
    {"loss_type": ["ipo"]},
    {"loss_type": ["robust"], "label_smoothing": 0.1},
    {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    {"loss_type": ["apo_zero"]},
    {"f_divergence_type": "js_divergence"},
]


@pytest.mark.parametrize("args", LOSSES, ids=lambda args: "-".join(map(str, args.values())))
def test_with_weights_of_one_every_loss_is_trl_s(
    train: Train, start: Policy, moved: Policy, tmp_path: Path, args: dict[str, Any]
) -> None:
    """Under accumulation too, but for the tokens of `sft`: TRL averages means of unequal parts, we count the step's."""
    parts = 1 if "sft" in args.get("loss_type", ()) else 2
    args = {**args, "learning_rate": 1e-4, "gradient_accumulation_steps": parts, "per_device_train_batch_size": 2}
    ours = weights_of(train(pairs(), start, args, reference=moved))
    plain = plain_trl(start.source, moved.source, tmp_path / "plain", pairs(), **args)
    before = weights_of(train(pairs(), start, {**args, "learning_rate": 0.0}, reference=moved))
    assert max(float((ours[name] - before[name]).abs().max()) for name in ours) > 1e-4
    assert all(ours[name].allclose(plain[name], atol=2e-6) for name in ours)


def test_the_weighted_loss_is_the_one_computed_by_hand(train: Train, start: Policy, moved: Policy) -> None:
    rows = [pair(weight=2.0), pair((40, 2), (50, 51, 2), weight=0.5, prompt=(1, 7))]
    args = {**ONE_STEP, "beta": BETA, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.25]}
    result = train(rows, start, args, reference=moved)
    losses, nll, tokens = [], 0.0, 0
    for row in rows:
        prompt, answers = row.prompt_ids or (), (row.chosen_ids or (), row.rejected_ids or ())
        own, ref = (
            [float(token_logprobs(policy.source, prompt, answer).sum()) for answer in answers]
            for policy in (start, moved)
        )
        margin = BETA * ((own[0] - ref[0]) - (own[1] - ref[1]))
        losses.append(row.weight * math.log1p(math.exp(-margin)))
        nll, tokens = nll - row.weight * own[0], tokens + len(answers[0])
    assert result.metrics["loss"] == pytest.approx(sum(losses) / 2 + 0.25 * nll / tokens, rel=1e-5)


def test_a_pair_of_weight_zero_contributes_nothing(train: Train, start: Policy) -> None:
    kept = pair()
    one, two, counted = (
        train([kept, pair((40, 41, 2), (ids, 2), weight)], start, ONE_STEP, reference=start)
        for ids, weight in ((50, 0.0), (60, 0.0), (60, 1.0))
    )
    assert same_weights(one, two)
    assert distance(one, counted) > 1e-5


def test_a_pair_of_weight_two_counts_twice(train: Train, start: Policy) -> None:
    heavy = train([pair(weight=2.0), pair((40, 2), (50, 2), 0.0)], start, ONE_STEP, reference=start)
    twice = train([pair(), pair()], start, ONE_STEP, reference=start)
    assert heavy.metrics["loss"] == pytest.approx(twice.metrics["loss"], rel=1e-6)
    assert heavy.metrics["grad_norm"] == pytest.approx(twice.metrics["grad_norm"], rel=1e-5)


def test_accumulated_batches_are_one_batch(train: Train, start: Policy, moved: Policy) -> None:
    rows = [pair([20 + i] * (i + 1), [40 + i, 2], float(i)) for i in range(4)]
    whole = train(rows, start, {**ONE_STEP, "per_device_train_batch_size": 4}, reference=moved)
    split = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    parts = train(rows, start, {**ONE_STEP, **split}, reference=moved)
    assert parts.steps == whole.steps == 1
    assert parts.metrics["grad_norm"] == pytest.approx(whole.metrics["grad_norm"], rel=1e-4)


def test_weights_are_refused_where_the_loss_is_only_trl_s(train: Train, start: Policy) -> None:
    with pytest.raises(ConfigError, match="pairs have weights, and apo_zero knows none"):
        train(pairs(weight=0.5), start, {"loss_type": ["apo_zero"]}, reference=start)


def test_preference_training_needs_a_reference(train: Train, start: Policy) -> None:
    with pytest.raises(ConfigError, match="needs a reference policy"):
        train(pairs(), start)


def test_the_loss_starts_at_log_two_when_the_reference_is_the_start(train: Train, start: Policy) -> None:
    result = train(pairs(), start, ONE_STEP, reference=start)
    assert result.metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert result.metrics["reference_gap"] < 1e-4


def test_a_reference_that_differs_from_the_start_is_seen(train: Train, start: Policy, moved: Policy) -> None:
    result = train(pairs(), start, ONE_STEP, reference=moved)
    assert result.metrics["reference_gap"] > 0.01
    assert abs(result.metrics["loss"] - math.log(2)) > 1e-4


def test_the_reference_is_not_read_from_the_path_of_the_start(train: Train, start: Policy) -> None:
    """A start that was trained here, and the policy before it as reference: what TRL alone gets wrong with weights
    in memory."""
    trained = policy_of(train(demonstrations(), start, {"learning_rate": 1e-2}), "trained")
    assert train(pairs(), trained, ONE_STEP, reference=start).metrics["reference_gap"] > 0.1
    assert train(pairs(), trained, ONE_STEP, reference=trained).metrics["reference_gap"] < 1e-4


def test_chosen_answers_gain_on_rejected_ones(train: Train, start: Policy) -> None:
    args = {"learning_rate": 1e-3, "num_train_epochs": 4}
    result = train(pairs(), start, args, reference=start)
    assert result.metrics["reward_margin"] > 0 and result.metrics["reward_accuracy"] == 1.0
    row = pairs()[0]
    gained = [
        float(
            (
                token_logprobs(result.source, row.prompt_ids or (), ids or ())
                - token_logprobs(start.source, row.prompt_ids or (), ids or ())
            ).sum()
        )
        for ids in (row.chosen_ids, row.rejected_ids)
    ]
    assert gained[0] > gained[1]


def test_a_training_that_diverges_saves_nothing(train: Train, start: Policy, tmp_path: Path) -> None:
    with pytest.raises(Diverged):
        train(pairs(16), start, {"learning_rate": 1e38}, reference=start)
    assert not list(tmp_path.rglob("*.safetensors"))
