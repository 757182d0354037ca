"""Models that lie in shards over several processes: how they are set up, and how their whole tensors come together.

Contract: `gather` is called by every process and gives whole tensors to the first one. On a CPU the same code of
accelerate runs as on GPUs, over gloo.

See it work: ``pytest tests/training/test_ranks.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def prepare(cuda: bool) -> None:
    """Let accelerate shard on a CPU too: it would take processes without a GPU for plain data parallelism.

    To be called once the processes have met, before a trainer is made.
    """
    if cuda or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def is_sharded(trainer: Any) -> bool:
    """Whether no process holds the whole model."""
    zero = trainer.is_deepspeed_enabled and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3
    return bool(trainer.is_fsdp_enabled or zero)


def gather(trainer: Any) -> dict[str, Any] | None:
    """The whole tensors of a sharded model (empty but in the first process); None for one that is not sharded."""
    return dict(trainer.accelerator.get_state_dict(trainer.model_wrapped)) if is_sharded(trainer) else None


def form(trainer: Any) -> str:
    """How checkpoints of this training are written: one kind cannot be read as another."""
    if trainer.is_fsdp_enabled:
        plugin = trainer.accelerator.state.fsdp_plugin
        return f"fsdp {plugin.fsdp_version} {plugin.state_dict_type}"
    if trainer.is_deepspeed_enabled:
        return f"deepspeed {trainer.accelerator.state.deepspeed_plugin.zero_stage} of {trainer.args.world_size}"
    return "whole"


def keep_outputs_exact(accelerator: Any, settings: Any) -> None:
    """Have FSDP2 give out float32: log-probabilities in bfloat16 would be summed with errors of whole nats."""
    if not accelerator.is_fsdp2 or not (settings.bf16 or settings.fp16):
        return
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    dtype = torch.bfloat16 if settings.bf16 else torch.float16
    accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32
    )


def shard(model: Any, settings: Any) -> Any:
    """A model for evaluation, sharded as the one that will be trained; itself where nothing is sharded."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return model
    from accelerate import Accelerator
    from accelerate.utils import fsdp2_prepare_model
    from trl.models import prepare_fsdp

    # the trainer's own accelerator comes later, and must find the precision that it wants
    accelerator = Accelerator(mixed_precision="bf16" if settings.bf16 else "fp16" if settings.fp16 else "no")
    keep_outputs_exact(accelerator, settings)
    if accelerator.is_fsdp2:  # unlike TRL's, this hands the weights on that the first process alone has loaded
        return fsdp2_prepare_model(accelerator, model)
    return prepare_fsdp(model, accelerator)


def has_policy(model: Any) -> bool:
    """Whether the model itself casts what it computes with, so that nobody else should."""
    return type(model).__name__.startswith("FSDP")


@contextmanager
def alone() -> Iterator[None]:
    """Models loaded here are this process's own: DeepSpeed would have all processes load them together."""
    from transformers.integrations import deepspeed

    kept = getattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = kept


def in_turn(count: int, world_size: int, index: int) -> list[int]:
    """Which of ``count`` batches a process computes: equally many each, or those with shards would wait for ever."""
    return [min(first + index, count - 1) for first in range(0, count, world_size)]


def everyones(found: list[Any], world_size: int) -> list[Any]:
    """The lists of all processes as one, in every process."""
    if world_size == 1:
        return found
    from accelerate.utils import gather_object

    return list(gather_object(found))
