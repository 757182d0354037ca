from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import Diverged, Starved
from selfimprove.types import Demonstration, Message
from tests.training.conftest import (
    SMALL,
    Train,
    demonstration,
    demonstrations,
    distance,
    same_weights,
    token_logprobs,
    weights_of,
)

ONE_STEP: dict[str, Any] = {"max_steps": 1, "logging_steps": 1}


def plain_trl(directory: str, output: Path, rows: list[Demonstration], seed: int, **args: Any) -> dict[str, Any]:
    """The weights that TRL's own trainer makes of the same rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    ids = [(list(row.prompt_ids or ()), list(row.completion_ids or ())) for row in rows]
    data = {"input_ids": [p + c for p, c in ids], "labels": [[-100] * len(p) + c for p, c in ids]}
    config = SFTConfig(
        str(output),
        **{**SMALL, **args},
        seed=seed,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        max_length=None,
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    trainer = SFTTrainer(model, config, train_dataset=Dataset.from_dict(data), processing_class=tokenizer)
    trainer.train()
    return dict(model.state_dict())


def test_weights_of_one_are_plain_sft_bit_for_bit(train: Train, tiny: str, tmp_path: Path) -> None:
    rows = demonstrations(10)
    args = {"num_train_epochs": 2, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}
    ours = weights_of(train(rows, args=args, seed=5))
    plain = plain_trl(tiny, tmp_path / "plain", rows, seed=5, **args)
    assert all(ours[name].equal(plain[name]) for name in ours)


def test_dft_is_trl_s_dft(train: Train, tiny: str, tmp_path: Path) -> None:
    ours = weights_of(train(demonstrations(), args={"loss_type": "dft"}))
    plain = plain_trl(tiny, tmp_path / "plain", demonstrations(), seed=0, loss_type="dft")
    assert all(ours[name].equal(plain[name]) for name in ours)


def test_the_weighted_loss_is_the_one_computed_by_hand(train: Train, tiny: str) -> None:
    rows = [demonstration((20, 21, 2), 2.0), demonstration((30, 2), -0.5, (1, 7))]
    result = train(rows, args=ONE_STEP)
    by_hand = -sum(
        row.weight * token_logprobs(tiny, row.prompt_ids or (), row.completion_ids or ()).sum() for row in rows
    )
    assert result.metrics["loss"] == pytest.approx(float(by_hand) / 5, rel=1e-5)
    assert result.metrics["trained_tokens"] == 5


def test_accumulated_batches_are_one_batch(train: Train) -> None:
    rows = [demonstration([20 + i] * (i + 1), float(i), (1, 5)) for i in range(4)]
    whole = train(rows, args={"per_device_train_batch_size": 4, **ONE_STEP})
    parts = train(rows, args={"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, **ONE_STEP})
    assert parts.steps == whole.steps == 1
    assert parts.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-5)
    assert parts.metrics["grad_norm"] == pytest.approx(whole.metrics["grad_norm"], rel=1e-5)


def test_a_row_of_weight_zero_teaches_nothing(train: Train) -> None:
    kept = demonstration((20, 21, 2))
    one, two = (train([kept, demonstration(ids, 0.0)], args=ONE_STEP) for ids in ((30, 31, 2), (40, 41, 2)))
    assert same_weights(one, two)
    assert not same_weights(one, train([kept, demonstration((30, 31, 2), 1.0)], args=ONE_STEP))


def test_a_negative_weight_pushes_a_completion_down(train: Train, tiny: str) -> None:
    ids = (20, 21, 2)
    before = token_logprobs(tiny, (1, 5, 6), ids).sum()
    up, down = (train([demonstration(ids, weight)] * 4) for weight in (1.0, -1.0))
    assert token_logprobs(down.source, (1, 5, 6), ids).sum() < before < token_logprobs(up.source, (1, 5, 6), ids).sum()


def test_text_is_trained_with_its_end_and_ids_without(train: Train, tiny: str) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny)
    prompt, answer = (
        [1, *tokenizer.encode("2+2=", add_special_tokens=False)],
        tokenizer.encode("4", add_special_tokens=False),
    )
    text = Demonstration((Message("text", "2+2="),), "4")
    ended = demonstration([*answer, 2], prompt=prompt)
    bare = demonstration(answer, prompt=prompt)
    first, second, third = (train([row], args=ONE_STEP) for row in (text, ended, bare))
    assert same_weights(first, second)
    assert not same_weights(first, third)


def test_rows_are_dropped_and_counted_and_steps_follow_from_the_rest(train: Train) -> None:
    rows = [*demonstrations(8), demonstration(()), demonstration(range(20, 60))]
    result = train(rows, max_tokens=30)
    assert (result.rows, result.steps, result.dropped) == (8, 2, {"empty": 1, "too_long": 1})


def test_nothing_left_to_train_on_is_starvation(train: Train) -> None:
    with pytest.raises(Starved):
        train([demonstration(())])


def test_a_training_that_diverges_saves_nothing_and_says_where(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="at step 2; nothing was saved") as caught:
        train(demonstrations(16), args={"learning_rate": 1e38, "lr_scheduler_type": "constant"})
    assert "learning_rate" in caught.value.hint
    assert not list(tmp_path.rglob("*.safetensors"))


def test_weights_that_are_no_numbers_after_the_last_step_are_noticed(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="not finite after the last step"):
        train(demonstrations(4), args={"learning_rate": 1e39, **ONE_STEP})
    assert not list(tmp_path.rglob("*.safetensors"))


def test_training_lowers_the_loss(train: Train) -> None:
    result = train(demonstrations(4) * 16, args={"num_train_epochs": 4, "learning_rate": 1e-2})
    assert result.metrics["loss"] < 0.5 * math.log(100)


def test_grouping_by_length_is_available_and_changes_the_order(train: Train) -> None:
    plain = train(demonstrations(16))
    grouped = train(demonstrations(16), args={"train_sampling_strategy": "group_by_length"})
    assert distance(plain, grouped) > 0
