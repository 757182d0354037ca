"""`RecordingTrainer`: a trainer without weights, for tests, demonstrations and dry runs of a whole pipeline.

Contract: reads the examples file as a real trainer does and writes ``output/model/weights.json``, whose digest
changes with the rows, the start policy, the reference, the objective and the options, and with nothing else. Takes
milliseconds and imports no torch. ``requests`` lists what it was asked. Everything goes well with
`selfimprove.sampling.scripted.ScriptedSampler`.

See it work: ``pytest tests/training/test_recording.py``.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from blake3 import blake3

from selfimprove.errors import ConfigError, Starved
from selfimprove.store.digest import canonical, digest
from selfimprove.store.tables import read_examples
from selfimprove.types import Example, Policy, PreferencePair, TrainRequest, TrainResult

WEIGHTS = "weights.json"


class RecordingTrainer:
    """A double of a trainer. ``requests`` holds every `TrainRequest` it was given, in order."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        self.config, self.model = dict(config), dict(model)
        self.requests: list[TrainRequest] = []

    def warm(self) -> None:
        """Nothing to import."""

    def build(self, spec: str, args: Mapping[str, Any], output: str) -> str:
        """Write a stand-in for what the builder ``spec`` would write, without running it."""
        return _write(Path(output), {"digest": digest([spec, args]), "built": spec})

    def train(self, request: TrainRequest) -> TrainResult:
        """Read the rows and write their digest. ConfigError and Starved as a real trainer raises them."""
        began = time.monotonic()
        self.requests.append(request)
        _check(request)
        hasher, kept, dropped = blake3(), 0, Counter[str]()
        for example in read_examples(Path(request.examples)):
            if _is_empty(example):
                dropped["empty"] += 1
                continue
            hasher.update(canonical(replace(example, source=())))
            kept += 1
        if not kept:
            raise Starved("no example is left to train on", hint="sample more completions per problem")
        identity = {"rows": hasher.hexdigest(length=16), **_semantics(request)}
        source = _write(Path(request.output, "model"), {"digest": digest(identity), "rows": kept, **identity})
        adapter = None
        if request.lora is not None:
            adapter, source = source, request.start.source
        metrics = {"loss": 0.0, "mean_loss": 0.0}
        return TrainResult(source, adapter, kept, kept, dict(dropped), metrics, {"train": time.monotonic() - began})


def _check(request: TrainRequest) -> None:
    if request.objective not in ("sft", "dpo"):
        raise ConfigError(f"objective {request.objective!r} is not one of sft, dpo")
    if request.objective == "dpo" and request.reference is None:
        raise ConfigError("objective 'dpo' needs a reference policy", hint="pass reference= to round.train")


def _is_empty(example: Example) -> bool:
    if isinstance(example, PreferencePair):
        return not (example.chosen or example.chosen_ids)
    return not (example.completion or example.completion_ids)


def _semantics(request: TrainRequest) -> dict[str, Any]:
    """What a training's result depends on, besides its rows. Paths are no part of it."""
    names = ("objective", "args", "lora", "adapter", "dtype", "seed", "max_tokens")
    chosen = {name: getattr(request, name) for name in names}
    return {**chosen, "start": request.start.digest, "reference": _digest_of(request.reference)}


def _digest_of(policy: Policy | None) -> str | None:
    return policy.digest if policy is not None else None


def _write(directory: Path, content: Mapping[str, Any]) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / WEIGHTS).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return str(directory)
