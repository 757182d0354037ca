"""TRL's and PEFT's own options: checked by name, refused where they would break a promise, defaults underneath.

Contract: an option keeps its own name and meaning. Unknown names, and options that would truncate a row, write
elsewhere or hide the seed, are a ConfigError that names the key, the reason and the fix. Learning rates and loss
parameters keep TRL's defaults.

See it work: ``pytest tests/training/test_options.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.plugins import suggest

_RUN = "the run decides what is written where"
_IDS = "rows are token ids already"
_NEVER_CUT = "rows are never truncated: too long ones are left out and counted (training.max_tokens)"
_ONE_ROW = "each row keeps its own loss mask and weight: set training.packing"
_NO_EVALUATION = "the run evaluates on held-out problems itself"
_ALWAYS_ONCE = (
    "reference log-probabilities are always computed once, before training, from the policy named as reference"
)

REFUSED: Mapping[str, str] = {
    "output_dir": _RUN,
    "overwrite_output_dir": _RUN,
    "save_strategy": _RUN,
    "save_steps": _RUN,
    "save_total_limit": _RUN,
    "save_only_model": _RUN,
    "load_best_model_at_end": _RUN,
    "resume_from_checkpoint": "the run resumes its own checkpoints: training.save_every_minutes",
    "enable_jit_checkpoint": "the run saves a checkpoint when it is asked to stop: training.save_every_minutes",
    "fsdp": "set training.launch to fsdp2, or to a file of `accelerate config`",
    "fsdp_config": "set training.launch to a file of `accelerate config`",
    "deepspeed": "set training.launch to zero3, or to a file of `accelerate config`",
    "accelerator_config": "it decides which process takes which rows; training.launch starts the processes",
    "push_to_hub": "nothing is uploaded by a training; copy the result directory instead",
    "hub_model_id": "nothing is uploaded by a training; copy the result directory instead",
    "hub_token": "nothing is uploaded by a training, and a config is no place for a secret",
    "hub_strategy": "nothing is uploaded by a training; copy the result directory instead",
    "truncation_mode": _NEVER_CUT,
    "packing": _ONE_ROW,
    "packing_strategy": _ONE_ROW,
    "eval_packing": _ONE_ROW,
    "padding_free": _ONE_ROW,
    "dataset_text_field": _IDS,
    "dataset_kwargs": _IDS,
    "dataset_num_proc": _IDS,
    "shuffle_dataset": "rows are shuffled in every epoch anyway",
    "remove_unused_columns": _IDS,
    "length_column_name": _IDS,
    "label_names": _IDS,
    "completion_only_loss": "completions alone are trained, always",
    "assistant_only_loss": "completions alone are trained, always",
    "chat_template_path": "sampling and training share one template: set model.chat_template",
    "eos_token": "the start policy's tokenizer is kept as it is",
    "pad_token": "the start policy's tokenizer is kept as it is",
    "label_smoothing_factor": "TRL deprecates it, and it knows no row weights",
    "seed": "it is derived from the run's seed: set `seed` at the top of the config",
    "trust_remote_code": "set model.trust_remote_code",
    "do_eval": _NO_EVALUATION,
    "eval_strategy": _NO_EVALUATION,
    "eval_steps": _NO_EVALUATION,
    "eval_on_start": _NO_EVALUATION,
    "metric_for_best_model": _NO_EVALUATION,
    "precompute_ref_log_probs": _ALWAYS_ONCE,
    "sync_ref_model": _ALWAYS_ONCE,
    "ref_model_mixup_alpha": _ALWAYS_ONCE,
    "ref_model_sync_steps": _ALWAYS_ONCE,
    "ld_alpha": "it needs reference log-probabilities per token, and they are stored per completion",
    "use_cpu": "training uses the GPU it is given",
    "logging_nan_inf_filter": "a loss that is no number stops the training",
}

HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "packing": (False,),
    "padding_free": (False,),
    "push_to_hub": (False,),
    "save_strategy": ("no",),
    "eval_strategy": ("no",),
    "completion_only_loss": (True, None),
    "label_smoothing_factor": (0, 0.0),
    "trust_remote_code": (False,),
    "sync_ref_model": (False,),
    "ld_alpha": (None,),
    "do_eval": (False,),
}

_LOADING = ("trust_remote_code", "use_safetensors", "revision", "subfolder", "quantization_config")


@dataclass(frozen=True, slots=True)
class Hardware:
    """What decides precision: a GPU that can do bfloat16, or a CPU with instructions for it."""

    cuda: bool
    bf16: bool


def hardware() -> Hardware:
    """This process's device."""
    import torch

    if torch.cuda.is_available():
        return Hardware(True, torch.cuda.is_bf16_supported())
    return Hardware(False, torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def check_args(args: Mapping[str, Any], config_class: type) -> None:
    """ConfigError for an option that ``config_class`` (TRL's) does not have or that is refused here."""
    known = [field.name for field in dataclasses.fields(config_class) if field.init]
    for key, value in args.items():
        if key in REFUSED and value not in HARMLESS.get(key, ()):
            raise ConfigError(f"training.args.{key}={value!r} is refused: {REFUSED[key]}")
        if key == "max_length" and value is not None:
            raise ConfigError(f"training.args.max_length={value!r} is refused: {_NEVER_CUT}")
        if key == "model_init_kwargs" and (bad := sorted(set(value or ()) & set(_LOADING))):
            raise ConfigError(f"training.args.{key} is refused with {', '.join(bad)}: the run decides what is loaded")
        if key not in known:
            raise ConfigError(f"training.args.{key}: {config_class.__name__} has no such option{suggest(key, known)}")


def check_lora(lora: Mapping[str, Any]) -> None:
    """ConfigError for an option that PEFT's LoraConfig does not have, or that the trainer sets itself."""
    from peft import LoraConfig

    known = [field.name for field in dataclasses.fields(LoraConfig) if field.init]
    for key in lora:
        if key in ("base_model_name_or_path", "task_type", "inference_mode", "peft_type", "auto_mapping"):
            raise ConfigError(f"training.lora.{key} is refused: it follows from the policy that is trained")
        if key not in known:
            raise ConfigError(f"training.lora.{key}: PEFT's LoraConfig has no such option{suggest(key, known)}")


def precision(dtype: str, args: Mapping[str, Any], device: Hardware) -> dict[str, bool]:
    """``bf16`` and ``fp16`` for TRL: the options' own word first, then ``dtype`` (auto: bfloat16 where it is fast)."""
    if "bf16" in args or "fp16" in args:
        fp16 = bool(args.get("fp16", False))
        bf16 = bool(args.get("bf16", False))
    else:
        bf16 = dtype == "bfloat16" or (dtype == "auto" and device.bf16)
        fp16 = dtype == "float16"
    if fp16 and not device.cuda:
        raise ConfigError("float16 training needs a GPU", hint="set training.dtype to auto, bfloat16 or float32")
    return {"bf16": bf16, "fp16": fp16}


def settings(objective: str, args: Mapping[str, Any], *, output: str, seed: int, dtype: str, device: Hardware) -> Any:
    """TRL's config object for ``objective``: our defaults, then ``args``. ConfigError for values TRL refuses."""
    import trl

    config_class = {"sft": trl.SFTConfig, "dpo": trl.DPOConfig}[objective]
    check_args(args, config_class)
    defaults: dict[str, Any] = {
        "gradient_checkpointing": device.cuda,
        "dataloader_pin_memory": device.cuda,
        "logging_steps": 0.05,
        "report_to": "none",
        "disable_tqdm": True,
    }
    ours: dict[str, Any] = {
        "output_dir": output,
        "seed": seed % 2**32,
        "max_length": None,
        "save_strategy": "no",
        "use_cpu": not device.cuda,
        "remove_unused_columns": False,
        "logging_nan_inf_filter": False,
        **precision(dtype, args, device),
    }
    if objective == "sft":
        ours |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "packing": False}
    try:
        return config_class(**{**defaults, **args, **ours})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"training.args: {config_class.__name__} refuses them: {error}") from error


def rows_per_step(settings: Any) -> int:
    """Rows of one optimiser step, over all processes."""
    return int(settings.per_device_train_batch_size * settings.gradient_accumulation_steps * settings.world_size)


def spread(settings: Any, batch_size: int | None) -> None:
    """Set the accumulation so that an optimiser step takes ``batch_size`` rows, however many processes there are.

    ConfigError if that is no multiple of what the processes take at once.
    """
    if batch_size is None:
        return
    at_once = settings.per_device_train_batch_size * settings.world_size
    if batch_size % at_once:
        raise ConfigError(
            f"training.batch_size is {batch_size}, which is no multiple of {at_once} "
            f"({settings.world_size} processes x per_device_train_batch_size {settings.per_device_train_batch_size})",
            hint="change training.batch_size, training.args.per_device_train_batch_size or training.processes",
        )
    settings.gradient_accumulation_steps = batch_size // at_once
