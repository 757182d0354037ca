"""Options that other libraries own: are their names right, without importing those libraries?

Contract: names come from the class sources of the installed release, followed through base classes, and are kept in
the user's cache directory until a source changes. Where a class cannot be read (not installed, built in another
way) nothing is refused: ``doctor CONFIG`` and the start of a run check names and types against the real class.

See it work: ``pytest tests/config/test_native.py``.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove import sources
from selfimprove.config.messages import unknown
from selfimprove.config.tree import Fault, Key, Layer, get


@dataclass(frozen=True, slots=True)
class Native:
    """Classes (``module:name``) that own the options of one mapping, and the options that are ours to set."""

    title: str
    classes: tuple[str, ...]
    ours: Mapping[str, str]


_SAMPLED = {
    "n": "the recipe decides",
    "seed": "use 'seed', of the whole run",
    "logprobs": "the recipe decides",
    "prompt_logprobs": "the sampler decides",
    "output_kind": "the sampler decides",
    "detokenize": "the sampler decides",
    "skip_clone": "the sampler decides",
    "max_tokens": "use 'sampling.max_tokens'",
}
_SAMPLING = {name: f"use 'sampling.{name}'" for name in ("temperature", "top_p", "top_k", "stop")}
_PARAMS = ("vllm.sampling_params:SamplingParams",)
_ATTEMPT = Native("vLLM sampling", _PARAMS, {name: way for name, way in _SAMPLED.items() if name != "max_tokens"})
_TRAINING = Native(
    "TRL",
    ("trl.trainer.sft_config:SFTConfig", "trl.trainer.dpo_config:DPOConfig"),
    {
        "output_dir": "the run directory decides",
        "resume_from_checkpoint": "the run directory decides",
        "seed": "use 'seed', of the whole run",
        "data_seed": "use 'seed', of the whole run",
        "max_length": "use 'training.max_tokens'",
    },
)

_ENGINE = Native(
    "vLLM engine",
    ("vllm.engine.arg_utils:EngineArgs",),
    {
        "model": "use 'model'",
        "seed": "use 'seed', of the whole run",
        "dtype": "use 'sampling.dtype'",
        "tensor_parallel_size": "use 'sampling.tensor_parallel'",
        "trust_remote_code": "use 'model.trust_remote_code'",
    },
)
NATIVE: dict[str, Native] = {
    "sampling.engine": _ENGINE,
    "evaluation.engine": _ENGINE,
    "sampling.params": Native("vLLM sampling", _PARAMS, _SAMPLED | _SAMPLING),
    "evaluation.params": Native("vLLM sampling", _PARAMS, _SAMPLED | {"max_tokens": "use 'evaluation.max_tokens'"}),
    "training.args": _TRAINING,
    "training.lora": Native("PEFT LoRA", ("peft.tuners.lora.config:LoraConfig",), {}),
    "recipe.args": _TRAINING,
    "warmup.args": _TRAINING,
    "recipe.params": _ATTEMPT,
    "warmup.params": _ATTEMPT,
}


def check(layer: Layer) -> list[Fault]:
    """Faults of every native mapping in the layer: unknown options, and those that have a key of their own."""
    found = []
    for dotted, native in NATIVE.items():
        key: Key = tuple(dotted.split("."))
        options = get(layer.value, key)
        if dotted == "training.args" and get(layer.value, ("training", "type")) == "command":
            continue  # another trainer's words
        if isinstance(options, dict) and options:
            found += _check(layer, key, native, options)
    return found


def names(native: Native) -> set[str] | None:
    """Every option's name, or None if it cannot be told."""
    union: set[str] = set()
    for spec in native.classes:
        fields = _fields(spec)
        if fields is None:
            return None
        union |= fields
    return union


def home(option: str) -> str | None:
    """The dotted key under which an option of this name belongs, if a library here has one."""
    for dotted in ("training.args", "sampling.engine", "sampling.params", "training.lora"):
        if option in (names(NATIVE[dotted]) or ()) and option not in NATIVE[dotted].ours:
            return f"{dotted}.{option}"
    return None


def _check(layer: Layer, key: Key, native: Native, options: dict[str, Any]) -> list[Fault]:
    known, found = names(native), []
    for name in options:
        place, dotted = layer.origin((*key, name)), ".".join(map(str, (*key, name)))
        if name in native.ours:
            found.append(Fault(place, dotted, f"not set here: {native.ours[name]}"))
        elif known is not None and name not in known:
            found.append(
                Fault(
                    place,
                    dotted,
                    unknown(name, known - set(native.ours), f"{native.title} option"),
                )
            )
    return found


@functools.cache
def _fields(spec: str) -> frozenset[str] | None:
    module, _, name = spec.partition(":")
    home = sources.module_file(module.split(".")[0])
    if home is None:
        return None
    store = _cache_file(spec, home)
    cached = _load(store)
    if cached is not None:
        return cached
    files: set[Path] = set()
    fields = sources.class_fields(module, name, files)
    if fields is None:
        return None
    _save(store, fields, files)
    return frozenset(fields)


def _cache_file(spec: str, home: Path) -> Path:
    import blake3

    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfimprove"
    return root / f"options-{blake3.blake3(f'{spec} {home}'.encode()).hexdigest()[:16]}.json"


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _load(store: Path) -> frozenset[str] | None:
    """What was kept, if every source is still the file that was read."""
    try:
        kept = json.loads(store.read_bytes())
        fresh = all(_stamp(Path(file)) == stamp for file, stamp in kept["files"].items())
        return frozenset(kept["fields"]) if fresh else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, damaged or stale: read the sources again


def _save(store: Path, fields: set[str], files: set[Path]) -> None:
    kept = {
        "fields": sorted(fields),
        "files": {str(file): _stamp(file) for file in sorted(files)},
    }
    draft = store.with_suffix(f".{os.getpid()}")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(kept))
        draft.replace(store)
    except OSError:
        return  # a cache that cannot be written costs some milliseconds each time
