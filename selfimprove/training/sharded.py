"""Models that lie in shards over several processes: how they are set up, and how their whole tensors come together.

Contract: `gather` is called by every process and gives whole tensors to the first one. On a CPU the same code of
accelerate runs as on GPUs, over gloo.

See it work: ``pytest tests/training/test_ranks.py``.
"""

from __future__ import annotations

import os
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


def shard(model: Any) -> Any:
    """A model for evaluation, sharded as the one that will be trained; itself where nothing is sharded."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedType, fsdp2_prepare_model
    from trl.models import prepare_deepspeed, prepare_fsdp

    accelerator = Accelerator()
    if accelerator.is_fsdp2:  # unlike TRL's, this hands the weights on that the first process alone has loaded
        return fsdp2_prepare_model(accelerator, model)
    if accelerator.distributed_type == DistributedType.FSDP:
        return prepare_fsdp(model, accelerator)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return prepare_deepspeed(model, accelerator)
    return model


def in_turn(count: int, world_size: int, index: int) -> list[int]:
    """Which of ``count`` batches a process computes: equally many each, or those with shards would wait for ever."""
    return [min(first + index, count - 1) for first in range(0, count, world_size)]


def everyones(found: list[Any], world_size: int) -> list[Any]:
    """The lists of all processes as one, in every process."""
    if world_size == 1:
        return found
    from accelerate.utils import gather_object

    return list(gather_object(found))
