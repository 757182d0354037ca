"""What a run will need of memory, from the model's files alone.

Contract: an estimate from shapes, good to about a quarter for plain transformers: weights, gradients and Adam's two
moments in float32; activations of one pass with or without checkpointing (Korthikanti et al. 2022, arXiv 2205.05198,
section 4, without the attention scores that fused kernels do not keep); one layer's worth where they are checkpointed.
Nothing is loaded.

See it work: ``selfimprove plan CONFIG``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
SIZES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1}
KEPT_PER_TOKEN = 34  # bytes of a layer's activations per hidden unit, in 16 bits
ADAM = 16  # bytes of a trained parameter: itself, its gradient and two moments


@dataclass(frozen=True)
class Shape:
    """A model's parameters, bytes on disk, layers, hidden size, and bytes of cache for one token in 16 bits."""

    parameters: int
    stored: int
    layers: int
    hidden: int
    cache: int


def shape_of(directory: Path) -> Shape | None:
    """The shape of the model in ``directory``; None if its files do not say."""
    config_file = directory / "config.json"
    if not config_file.is_file():
        return None
    told = json.loads(config_file.read_text(encoding="utf-8"))
    told = told.get("text_config", told)
    layers, hidden = int(told.get("num_hidden_layers") or 0), int(told.get("hidden_size") or 0)
    heads = int(told.get("num_attention_heads") or 0)
    if not (layers and hidden and heads):
        return None
    width = int(told.get("head_dim") or hidden // heads)
    parameters = stored = 0
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                stored += end - begin
                parameters += (end - begin) // SIZES.get(entry["dtype"], 2)
    cache = 2 * layers * int(told.get("num_key_value_heads") or heads) * width * 2
    return Shape(parameters, stored, layers, hidden, cache)


def needed(shape: Shape, training: Mapping[str, Any], sampling: Mapping[str, Any], gpus: int) -> dict[str, float]:
    """GiB of one training process and of one engine. ``training`` and ``sampling`` are parts of a config.

    Without ``processes``, a launched training has one on each of ``gpus``.
    """
    args = training.get("args") or {}
    processes = training.get("processes") or max(gpus, 1)
    shards = processes if training.get("launch") in ("fsdp2", "zero3") else 1
    lora = training.get("lora")
    if lora:
        base = shape.parameters / 2 if training.get("quantize") else float(shape.stored)
        trained = _adapter(shape, int(lora.get("r") or 8)) * ADAM
    else:
        base, trained = 0.0, shape.parameters * ADAM
    tokens = training.get("batch_tokens") or (
        int(args.get("per_device_train_batch_size") or 8) * (training.get("max_tokens") or sampling["max_tokens"])
    )
    checkpointed = args.get("gradient_checkpointing", gpus > 0)
    per_token = shape.hidden * (2 * shape.layers + KEPT_PER_TOKEN if checkpointed else KEPT_PER_TOKEN * shape.layers)
    weights = (base + trained) / shards
    return {
        "training": (weights + tokens * per_token) / GIB,
        "training_weights": weights / GIB,
        "training_tokens": float(tokens),
        "sampling_weights": shape.stored / int(sampling.get("tensor_parallel") or 1) / GIB,
        "cache_per_1000_tokens": 1000 * shape.cache / GIB,
    }


def _adapter(shape: Shape, rank: int) -> int:
    """Parameters of an adapter on all linear layers, whose inputs and outputs are some 18 hidden sizes a layer."""
    return shape.layers * rank * 18 * shape.hidden


def render(found: Mapping[str, float]) -> str:
    """The estimate for people."""
    train, weights, sample = (_gib(found[name]) for name in ("training", "training_weights", "sampling_weights"))
    return (
        f"memory, roughly: {train} to train (weights and optimizer {weights}, {found['training_tokens']:,.0f} tokens "
        f"at once), {sample} to sample and {_gib(found['cache_per_1000_tokens'])} for each 1,000 tokens under way"
    )


def _gib(value: float) -> str:
    return f"{value:.1f} GiB" if value >= 0.1 else f"{value * 1024:.1f} MiB"
