"""Adapters across rounds: from a start policy to the weights a training really starts at.

Contract: ``fresh`` drops the start's adapter and puts a new one on its source; ``continue`` trains the start's
adapter on; ``merge`` folds it into a new base, saved beside the result, and puts a new adapter on that. Full
training folds an adapter into the weights it trains. The reference of a preference training that *is* the start
policy is loaded exactly as the start is, so that both give the same numbers before the first step.

See it work: ``pytest tests/training/test_adapters.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.training import models
from selfimprove.training.models import Loading, Weights
from selfimprove.types import Policy, TrainRequest

BASE, ADAPTER, MODEL = "base", "adapter", "model"


def weights_of(policy: Policy) -> Weights:
    """A policy as it stands: its directory, with its adapter unmerged."""
    return Weights(models.local(policy.source), Path(policy.adapter) if policy.adapter else None)


def same(one: Policy, other: Policy | None) -> bool:
    """Whether two policies are the same weights."""
    return other is not None and (one.digest, one.source, one.adapter) == (other.digest, other.source, other.adapter)


def start_weights(request: TrainRequest, how: Loading) -> Weights:
    """What the training starts at; for ``merge`` the merged base is written under the output first."""
    start = weights_of(request.start)
    if start.adapter is None:
        return start
    if request.lora is None:
        return replace(start, merged=True)
    if request.adapter == "continue":
        _check_continued(start.adapter, request.lora)
        return start
    if request.adapter == "merge":
        base = Path(request.output, BASE)
        if base.exists():  # another process of this training wrote it
            return Weights(base)
        merged = models.load(replace(start, merged=True), replace(how, dtype="float32", quantize=""))
        models.save(merged, start.directory, base)
        return Weights(base)
    if same(request.start, request.reference):
        raise ConfigError(
            "training.adapter=fresh drops the start policy's adapter, so the training would not start at its reference",
            hint="set training.adapter to continue or merge, or train from the base policy",
        )
    return replace(start, adapter=None)


def reference_weights(request: TrainRequest, start: Weights) -> Weights:
    """What the reference log-probabilities are computed with. ConfigError without a reference."""
    if request.reference is None:
        raise ConfigError(
            f"objective {request.objective!r} needs a reference policy",
            hint="pass reference= to round.train: the policy that the trained one is held close to",
        )
    return start if same(request.start, request.reference) else weights_of(request.reference)


def new_adapter(lora: Mapping[str, Any]) -> Any:
    """PEFT's config of a new adapter. ConfigError for values PEFT refuses."""
    from peft import LoraConfig

    try:
        return LoraConfig(**lora, task_type="CAUSAL_LM")
    except (ValueError, TypeError) as error:
        raise ConfigError(f"training.lora: PEFT refuses it: {error}") from error


def trained_tensors(model: Any) -> dict[str, Any]:
    """Copies of what is trained in ``model`` by name; nothing for one without an adapter yet."""
    if not hasattr(model, "peft_config"):
        return {}
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}


def hold_in_float32(model: Any, exact: Mapping[str, Any]) -> None:
    """Undo TRL's rounding of adapters on 4-bit bases to bfloat16: ``exact`` holds what they were.

    A rounded adapter is not the policy that was sampled from, and small updates are lost in it.
    """
    import torch

    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            tensor.data = exact[name].to(tensor.device) if name in exact else tensor.data.to(torch.float32)


def _check_continued(adapter: Path, lora: Mapping[str, Any]) -> None:
    """An adapter that is trained on keeps its own shape: options that say otherwise would be ignored silently."""
    models.check_adapter(adapter)
    stored = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for key, value in lora.items():
        have = stored.get(key)
        if isinstance(value, str) and isinstance(have, list):
            continue  # PEFT stores the modules that a word ("all-linear") or a pattern stood for
        if have != value and not (isinstance(have, list) and sorted(have) == sorted(value or ())):
            raise ConfigError(
                f"training.lora.{key} is {value!r}, but the adapter to continue has {have!r}",
                hint="keep the value, or set training.adapter to merge or fresh",
            )
