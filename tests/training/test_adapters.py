from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.types import Policy, TrainResult
from tests.training.conftest import (
    Train,
    demonstrations,
    pairs,
    policy_of,
    token_logprobs,
    weights_of,
)

LORA: dict[str, Any] = {"r": 2, "target_modules": ["q_proj", "v_proj"]}
STILL: dict[str, Any] = {"learning_rate": 0.0}
STRONG: dict[str, Any] = {"learning_rate": 5e-2, "num_train_epochs": 4}
PROMPT, ANSWER = (1, 5, 6), (20, 30, 31, 2)


@pytest.fixture
def adapted(train: Train) -> Policy:
    """A policy with an adapter that has learnt something."""
    return policy_of(train(demonstrations(), lora=LORA, args=STRONG), "adapted")


def logprobs(policy: Policy | TrainResult) -> Any:
    return token_logprobs(policy.source, PROMPT, ANSWER, policy.adapter)


def test_a_new_adapter_leaves_the_source_alone_and_changes_the_policy(adapted: Policy, tiny: str) -> None:
    assert adapted.source == tiny and adapted.adapter is not None
    assert sorted(path.name for path in Path(adapted.adapter).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert not logprobs(adapted).allclose(token_logprobs(tiny, PROMPT, ANSWER), atol=0.1)


def test_an_adapter_names_no_path(adapted: Policy, tiny: str) -> None:
    text = Path(adapted.adapter or "", "adapter_config.json").read_text()
    assert tiny not in text and json.loads(text)["base_model_name_or_path"] is None


def test_fresh_starts_again_from_the_source(train: Train, adapted: Policy, tiny: str) -> None:
    result = train(demonstrations(), adapted, STILL, lora=LORA, adapter="fresh")
    assert result.source == tiny
    assert logprobs(result).equal(token_logprobs(tiny, PROMPT, ANSWER))


def test_continue_starts_from_the_adapter(train: Train, adapted: Policy, tiny: str) -> None:
    result = train(demonstrations(), adapted, STILL, lora=LORA, adapter="continue")
    assert result.source == tiny and result.adapter != adapted.adapter
    assert logprobs(result).equal(logprobs(adapted))


def test_continue_trains_the_adapter_on(train: Train, adapted: Policy) -> None:
    result = train(demonstrations(), adapted, STRONG, lora=LORA, adapter="continue")
    assert logprobs(result).sum() > logprobs(adapted).sum()


def test_merge_starts_from_the_adapter_on_a_new_base(train: Train, adapted: Policy, tiny: str) -> None:
    result = train(demonstrations(), adapted, STILL, lora={"r": 3}, adapter="merge")
    assert result.source != tiny
    assert token_logprobs(result.source, PROMPT, ANSWER).allclose(logprobs(adapted), atol=1e-5)
    assert logprobs(result).equal(token_logprobs(result.source, PROMPT, ANSWER))
    assert Path(result.source, "tokenizer.json").read_bytes() == Path(tiny, "tokenizer.json").read_bytes()


def test_full_training_takes_the_adapter_in(train: Train, adapted: Policy) -> None:
    result = train(demonstrations(), adapted, STILL)
    assert result.adapter is None
    assert logprobs(result).allclose(logprobs(adapted), atol=1e-5)


@pytest.mark.parametrize("mode", ["fresh", "continue", "merge"])
def test_a_policy_without_adapter_gets_a_new_one_in_every_mode(train: Train, tiny: str, mode: Any) -> None:
    result = train(demonstrations(), lora=LORA, adapter=mode)
    assert result.source == tiny and result.adapter is not None


def test_continue_refuses_another_shape(train: Train, adapted: Policy) -> None:
    with pytest.raises(ConfigError, match=r"training\.lora\.r is 8, but the adapter to continue has 2"):
        train(demonstrations(), adapted, lora={**LORA, "r": 8}, adapter="continue")


def test_an_adapter_directory_without_adapter_is_refused(train: Train, tiny: str, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"no adapter_config\.json"):
        train(demonstrations(), Policy(tiny, "x", adapter=str(tmp_path)), lora=LORA, adapter="continue")


def test_values_that_peft_or_trl_refuse_are_config_errors(train: Train) -> None:
    with pytest.raises(ConfigError, match="lm_head"):
        train(demonstrations(), lora={"r": 2, "target_modules": ["lm_head"]})
    with pytest.raises(ConfigError, match="no_such_module"):
        train(demonstrations(), lora={"r": 2, "target_modules": ["no_such_module"]})


def test_an_initialisation_follows_the_seed(train: Train) -> None:
    one, two, other = (train(demonstrations(), args=STILL, lora=LORA, seed=seed) for seed in (1, 1, 2))
    name = next(name for name in weights_of(one) if "lora_A" in name)
    assert weights_of(one)[name].equal(weights_of(two)[name])
    assert not weights_of(one)[name].equal(weights_of(other)[name])


# -- preference training: the reference is the policy that was named ------------------------------------------------

EXACT = 1e-4


@pytest.mark.parametrize("dtype", ["float32", "auto"])
@pytest.mark.parametrize("lora", [None, LORA])
def test_the_first_log_ratios_are_zero_when_the_reference_is_the_start(
    train: Train, tiny: str, lora: Any, dtype: str
) -> None:
    start = Policy(tiny, "tiny")
    result = train(pairs(), start, lora=lora, reference=start, dtype=dtype)
    assert result.metrics["reference_gap"] < (EXACT if dtype == "float32" else 0.05)


@pytest.mark.parametrize(("lora", "mode"), [(LORA, "continue"), (LORA, "merge"), (None, "fresh")])
def test_they_are_zero_for_a_start_with_an_adapter(train: Train, adapted: Policy, lora: Any, mode: Any) -> None:
    result = train(pairs(), adapted, lora=lora, adapter=mode, reference=adapted)
    assert result.metrics["reference_gap"] < EXACT


@pytest.mark.parametrize(("lora", "mode"), [(LORA, "continue"), (LORA, "merge"), (None, "fresh")])
def test_they_are_not_zero_when_the_reference_is_the_base(
    train: Train, adapted: Policy, tiny: str, lora: Any, mode: Any
) -> None:
    result = train(pairs(), adapted, lora=lora, adapter=mode, reference=Policy(tiny, "tiny"))
    assert result.metrics["reference_gap"] > 0.1


def test_a_reference_with_an_adapter_is_used_with_it(train: Train, adapted: Policy, tiny: str) -> None:
    result = train(pairs(1), Policy(tiny, "tiny"), STILL, lora=LORA, reference=adapted)
    row = pairs(1)[0]
    ids = [(row.prompt_ids or (), answer or ()) for answer in (row.chosen_ids, row.rejected_ids)]
    base = [float(token_logprobs(tiny, *one).sum()) for one in ids]
    other = [float(token_logprobs(tiny, *one, adapter=adapted.adapter).sum()) for one in ids]
    expected = max(abs(one - two) for one, two in zip(base, other, strict=True))
    assert result.metrics["reference_gap"] == pytest.approx(expected, rel=1e-4)


def test_dropping_an_adapter_that_the_reference_keeps_is_refused(train: Train, adapted: Policy) -> None:
    with pytest.raises(ConfigError, match="adapter=fresh drops") as caught:
        train(pairs(), adapted, lora=LORA, adapter="fresh", reference=adapted)
    assert "continue or merge" in caught.value.hint
