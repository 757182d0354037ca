"""What is served is what was trained: adapters on plain and on 4-bit bases, round after round.

Run: pytest tests/training/test_identity.py
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import CanaryError, ConfigError
from selfimprove.sampling.vllm import VLLMSampler
from selfimprove.store.digest import digest
from selfimprove.testing import tiny_llama
from selfimprove.training import trl
from selfimprove.types import Policy, TrainResult
from tests.training.conftest import Train, demonstration, demonstrations, token_logprobs, weights_of

LORA = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear"}
HOT = {"max_steps": 6, "learning_rate": 0.02}
PROMPT, ANSWER = (1, 5, 6), (20, 31, 32, 2)


@pytest.fixture
def trained_logprobs(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Log-probabilities of `ANSWER` under each model that was trained, before it was saved."""
    found: list[list[float]] = []
    save = trl._Training.save

    def weigh(self: Any, model: Any, weights: Any) -> Policy:
        import torch

        ids = torch.tensor([[*PROMPT, *ANSWER]], device=next(model.parameters()).device)
        # as in training, with gradients: bitsandbytes has another kernel for inference on a CPU, off by 1e-3
        scores = model(input_ids=ids, use_cache=False).logits[0].log_softmax(dim=-1).detach()
        found.append([float(scores[len(PROMPT) - 1 + at, token]) for at, token in enumerate(ANSWER)])
        return save(self, model, weights)

    monkeypatch.setattr(trl._Training, "save", weigh)
    return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Heads that vLLM's attention on a CPU takes."""
    return tiny_llama(str(tmp_path_factory.mktemp("wide") / "model"), hidden_size=64, layers=2, heads=2)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(str(tmp_path_factory.mktemp("wider") / "model"), hidden_size=64, layers=2, heads=2, seed=7)


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMSampler]:
    made = VLLMSampler({"engine": {"max_model_len": 64}, "dtype": "float32"}, {})
    yield made
    made.close()


def policy(result: TrainResult, number: int, parent: str) -> Policy:
    return Policy(result.source, digest([number, result.source, result.adapter]), parent, adapter=result.adapter)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["", "nf4"])
@pytest.mark.parametrize("mode", ["fresh", "continue", "merge"])
def test_three_rounds_are_served_as_they_were_trained(
    train: Train, tiny: str, engine: VLLMSampler, trained_logprobs: list[list[float]], mode: str, quantize: str
) -> None:
    """The trainer's own log-probabilities, the engine's, and transformers' from the files: the same each time."""
    current = Policy(tiny, "tiny")
    for number in range(3):
        rows = [demonstration([20, 31 + number, 32, 2], 1.0, (1, 5, 6 + i % 3)) for i in range(8)]
        result = train(rows, current, HOT, lora=LORA, adapter=mode, quantize=quantize, seed=number)
        current = policy(result, number, current.digest)
        canary = json.loads(Path(result.adapter or "").parent.joinpath("canary.json").read_text())
        assert engine.load(current, canary=canary)["canary"]["mean"] < 1e-4
        (served,) = engine.score([(PROMPT, ANSWER)])
        assert served == pytest.approx(trained_logprobs[-1], abs=2e-4)
        files = token_logprobs(result.source, PROMPT, ANSWER, result.adapter)
        assert files.tolist() == pytest.approx(trained_logprobs[-1], abs=2e-4)
    assert trained_logprobs[0] != trained_logprobs[1] != trained_logprobs[2]


@pytest.mark.slow
def test_a_wrong_base_under_an_adapter_is_caught(
    train: Train, tiny: str, other: str, engine: VLLMSampler, tmp_path: Path
) -> None:
    """The adapter of a merged base, served on the base before it, gives other log-probabilities than the canary's."""
    first = train(demonstrations(), None, HOT, lora=LORA)
    second = train(demonstrations(), policy(first, 1, ""), HOT, lora=LORA, adapter="merge")
    assert second.source != tiny, "a merge names a base of its own"
    canary = json.loads(Path(second.adapter or "").parent.joinpath("canary.json").read_text())
    assert engine.load(policy(second, 2, "x"), canary=canary)["canary"]["passed"]
    for wrong in (tiny, other):
        with pytest.raises(CanaryError, match="differ from the trained weights'"):
            engine.load(Policy(wrong, f"wrong-{Path(wrong).parent.name}", "x", second.adapter), canary=canary)


def test_a_base_in_four_bits_is_another_policy(train: Train, tiny: str, tmp_path: Path) -> None:
    """It is written with the values that were trained on, once: rounding it again changes nothing."""
    rows = demonstrations()
    first = train(rows, None, HOT, lora=LORA, quantize="nf4")
    assert first.source != tiny
    before, after = (weights_of(TrainResult(place, None, 0, 0)) for place in (tiny, first.source))
    assert any(not before[name].equal(after[name]) for name in before)
    again = train(rows, policy(first, 1, ""), HOT, lora=LORA, adapter="continue", quantize="nf4")
    assert again.source == first.source
    copy = tmp_path / "copy"
    shutil.copytree(first.source, copy)
    (copy / "quantized.json").unlink()
    rounded = train(rows, Policy(str(copy), "copy"), HOT, lora=LORA, quantize="nf4")
    assert rounded.source != str(copy)
    twice = weights_of(TrainResult(rounded.source, None, 0, 0))
    assert all(after[name].equal(twice[name]) for name in after)


def test_preferences_on_four_bits_start_at_their_reference(train: Train, tiny: str) -> None:
    from tests.training.conftest import pairs

    start = Policy(tiny, "tiny")
    result = train(pairs(), start, {"max_steps": 1}, lora=LORA, quantize="nf4", reference=start)
    assert result.metrics["reference_gap"] < 1e-5


def test_four_bits_are_for_adapters() -> None:
    from pydantic import ValidationError

    from selfimprove.config import TrainingConfig

    with pytest.raises((ValidationError, ConfigError), match="'quantize' needs 'lora'"):
        TrainingConfig(quantize="nf4")
