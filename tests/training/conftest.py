"""A tiny model, a trainer that lives as long as the tests, and short ways to ask it for a training."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfimprove.store.tables import write_examples
from selfimprove.testing import tiny_llama
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Demonstration, Example, Message, Policy, PreferencePair, TrainRequest, TrainResult

PROMPT = (Message("text", "2+2="),)
SMALL = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 1e-3}
Train = Callable[..., TrainResult]


def demonstration(
    completion: Sequence[int] = (20, 21, 2), weight: float = 1.0, prompt: Sequence[int] = (1, 5, 6)
) -> Demonstration:
    return Demonstration(PROMPT, "text", list(prompt), list(completion), weight)


def pair(
    chosen: Sequence[int] = (20, 21, 2),
    rejected: Sequence[int] = (30, 2),
    weight: float = 1.0,
    prompt: Sequence[int] = (1, 5, 6),
) -> PreferencePair:
    return PreferencePair(PROMPT, "good", "bad", list(prompt), list(chosen), list(rejected), weight)


def demonstrations(count: int = 8, weight: float = 1.0) -> list[Demonstration]:
    """Rows of different lengths."""
    return [demonstration([20 + i, *range(30, 31 + i % 4), 2], weight, [1, 5, 6 + i]) for i in range(count)]


def pairs(count: int = 8, weight: float = 1.0) -> list[PreferencePair]:
    """Pairs of different lengths."""
    return [pair([20 + i, *range(30, 31 + i % 4), 2], [40 + i, 41, 2], weight, [1, 5, 6 + i]) for i in range(count)]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(str(tmp_path_factory.mktemp("tiny") / "model"), hidden_size=32, layers=2, heads=2)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(str(tmp_path_factory.mktemp("other") / "model"), hidden_size=32, layers=2, heads=2, seed=7)


@pytest.fixture(scope="session")
def trainer() -> Iterator[TRLTrainer]:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    made = TRLTrainer({"threads": 1}, {})
    made.warm()
    yield made


@pytest.fixture
def train(trainer: TRLTrainer, tiny: str, tmp_path: Path) -> Train:
    """``train(rows, ...)``: a training in float32 from the tiny model, into a new directory."""
    numbers = itertools.count()

    def run(
        rows: Sequence[Example],
        start: Policy | None = None,
        args: dict[str, Any] | None = None,
        *,
        dtype: str = "float32",
        **request: Any,
    ) -> TrainResult:
        output = tmp_path / f"training-{next(numbers)}"
        output.mkdir()
        examples = output / "examples.parquet"
        write_examples(examples, rows, type(rows[0]))
        objective = "dpo" if isinstance(rows[0], PreferencePair) else "sft"
        begin = start or Policy(tiny, "tiny")
        options = {**SMALL, **(args or {})}
        asked = TrainRequest(objective, str(examples), begin, str(output / "out"), args=options, dtype=dtype, **request)
        Path(asked.output).mkdir()
        return trainer.train(asked)

    return run


def policy_of(result: TrainResult, digest: str) -> Policy:
    """The policy a training made, under a digest of the test's choice."""
    return Policy(result.source, digest, adapter=result.adapter)


def weights_of(result: TrainResult) -> dict[str, Any]:
    """The tensors a training saved."""
    from safetensors.torch import load_file

    name = "adapter_model.safetensors" if result.adapter else "model.safetensors"
    return load_file(Path(result.adapter or result.source, name))


def same_weights(one: TrainResult, two: TrainResult) -> bool:
    """Bit for bit."""
    first, second = weights_of(one), weights_of(two)
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def distance(one: TrainResult, two: TrainResult) -> float:
    """Largest difference of any weight."""
    first, second = weights_of(one), weights_of(two)
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def token_logprobs(directory: str, prompt: Sequence[int], completion: Sequence[int], adapter: str | None = None) -> Any:
    """Log-probabilities of the completion's tokens under a saved model, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        scores = model(input_ids=ids).logits[0].log_softmax(dim=-1)
    return torch.stack([scores[len(prompt) - 1 + i, token] for i, token in enumerate(completion)])
