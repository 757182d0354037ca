from __future__ import annotations

from typing import Any

import pytest

from selfimprove.errors import ConfigError
from selfimprove.training.options import Hardware, check_lora, precision, settings

CPU, FAST_CPU, GPU = Hardware(False, False), Hardware(False, True), Hardware(True, True)


def made(objective: str = "sft", **args: Any) -> Any:
    return settings(objective, args, output="out", seed=2**32 + 3, dtype="float32", device=CPU)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_dir", "elsewhere"),
        ("max_length", 512),
        ("packing", True),
        ("packing_strategy", "wrapped"),
        ("push_to_hub", True),
        ("save_strategy", "steps"),
        ("seed", 1),
        ("completion_only_loss", False),
        ("resume_from_checkpoint", "there"),
    ],
)
def test_options_that_break_a_promise_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"training\.args\.{key}={value!r} is refused: \w+"):
        made(**{key: value})


@pytest.mark.parametrize("key", ["precompute_ref_log_probs", "ld_alpha", "sync_ref_model"])
def test_dpo_options_that_change_the_reference_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        made("dpo", **{key: 1})


def test_loading_options_pass_except_those_that_decide_what_is_loaded() -> None:
    assert made(model_init_kwargs={"attn_implementation": "eager"}).model_init_kwargs
    with pytest.raises(ConfigError, match="the run decides what is loaded"):
        made(model_init_kwargs={"trust_remote_code": True})


def test_values_that_change_nothing_are_accepted() -> None:
    made(packing=False, max_length=None, push_to_hub=False, save_strategy="no")


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"training\.args\.learnig_rate.*did you mean 'learning_rate'"):
        made(learnig_rate=1e-4)
    with pytest.raises(ConfigError, match=r"training\.lora\.lora_alfa.*did you mean 'lora_alpha'"):
        check_lora({"r": 4, "lora_alfa": 8})


def test_an_option_of_the_other_objective_is_unknown() -> None:
    with pytest.raises(ConfigError, match="SFTConfig has no such option"):
        made(beta=0.1)


def test_a_value_that_trl_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="SFTConfig refuses"):
        made(lr_scheduler_type="no_such_schedule")


def test_trl_keeps_its_learning_rates_and_we_set_the_rest() -> None:
    assert made().learning_rate == 2e-5
    assert made("dpo").learning_rate == 1e-6
    chosen = made(gradient_checkpointing=True, per_device_train_batch_size=3)
    assert chosen.gradient_checkpointing and chosen.per_device_train_batch_size == 3
    assert (chosen.seed, chosen.max_length, chosen.bf16, chosen.report_to) == (3, None, False, [])
    assert not made().gradient_checkpointing


@pytest.mark.parametrize(
    ("dtype", "device", "bf16"),
    [("auto", CPU, False), ("auto", FAST_CPU, True), ("float32", FAST_CPU, False), ("bfloat16", CPU, True)],
)
def test_precision_follows_the_hardware_unless_told(dtype: str, device: Hardware, bf16: bool) -> None:
    assert precision(dtype, {}, device) == {"bf16": bf16, "fp16": False}


def test_trl_s_own_word_on_precision_wins() -> None:
    assert precision("auto", {"bf16": False}, FAST_CPU) == {"bf16": False, "fp16": False}
    assert precision("float32", {"bf16": True}, CPU) == {"bf16": True, "fp16": False}


def test_float16_needs_a_gpu() -> None:
    assert precision("float16", {}, GPU)["fp16"]
    with pytest.raises(ConfigError, match="needs a GPU"):
        precision("float16", {}, CPU)
