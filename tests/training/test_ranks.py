"""One process and several end with the same weights. Run: pytest tests/training/test_ranks.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError
from selfimprove.store.tables import write_examples
from selfimprove.testing import tiny_llama
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Example, Policy, TrainRequest, TrainResult
from tests.training.conftest import SMALL, demonstration, pair, token_logprobs

# Plain steps: Adam would hide a loss that is off by a factor.
PLAIN = {"max_steps": 3, "learning_rate": 0.5, "optim": "sgd", "max_grad_norm": 0.0}


def rows_of(objective: str, count: int = 8) -> list[Example]:
    """Rows of different lengths and weights, so that a mean over each process's own tokens would be another one."""
    if objective == "sft":
        return [demonstration([20 + i] * (i % 5 + 1) + [2], 0.5 * (i % 3 + 1), (1, 5)) for i in range(count)]
    return [pair([20 + i, 2], [40 + i] * (i % 3 + 1) + [2], 0.5 * (i % 3 + 1), (1, 5)) for i in range(count)]


def trained(
    folder: Path,
    model: str,
    objective: str,
    rows: int,
    lora: dict[str, Any] | None = None,
    *,
    count: int = 8,
    args: dict[str, Any] | None = None,
    dtype: str = "float32",
    quantize: str = "",
    **config: Any,
) -> TrainResult:
    """A training with ``rows`` rows per process at once, and four per step."""
    folder.mkdir()
    examples = rows_of(objective, count)
    write_examples(folder / "rows.parquet", examples, type(examples[0]))
    (folder / "out").mkdir()
    start = Policy(model, "tiny")
    request = TrainRequest(
        objective,
        str(folder / "rows.parquet"),
        start,
        str(folder / "out"),
        reference=start if objective == "dpo" else None,
        args={**SMALL, **PLAIN, "per_device_train_batch_size": rows, **(args or {})},
        lora=lora,
        dtype=dtype,
        quantize=quantize,
    )
    return TRLTrainer({"threads": 1, "batch_size": 4, **config}, {}).train(request)


def weights(result: TrainResult) -> dict[str, Any]:
    from safetensors.torch import load_file

    name = "adapter_model.safetensors" if result.adapter else "model.safetensors"
    return dict(load_file(Path(result.adapter or result.source, name)))


def assert_equal(one: TrainResult, other: TrainResult) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert (values - second[name]).abs().max() < 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_several_processes_end_as_one_does(tiny: str, tmp_path: Path, objective: str) -> None:
    """Plain data parallelism, shards, and one process that accumulates."""
    one = trained(tmp_path / "one", tiny, objective, 4)
    before = weights(TrainResult(tiny, None, 0, 0))
    assert max(float((before[name] - values).abs().max()) for name, values in weights(one).items()) > 1e-3
    assert_equal(one, trained(tmp_path / "parts", tiny, objective, 2))
    for kind in ("ddp", "fsdp2"):
        two = trained(tmp_path / kind, tiny, objective, 2, launch=kind, processes=2)
        assert_equal(one, two)
        assert two.metrics["processes"] == 2
        assert one.metrics["loss"] == pytest.approx(two.metrics["loss"], abs=1e-5)
        canary = json.loads((tmp_path / kind / "out" / "canary.json").read_text())
        ids, split = canary["ids"], canary["prompt_len"]
        assert canary["logprobs"] == pytest.approx(token_logprobs(two.source, ids[:split], ids[split:]).tolist())


@pytest.mark.slow
def test_a_file_of_accelerate_says_the_rest(tiny: str, tmp_path: Path) -> None:
    """Shards that stay whole between forward and backward, as only a file can ask for."""
    told = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "NO_WRAP", "fsdp_reshard_after_forward": False}
    told |= {"fsdp_state_dict_type": "FULL_STATE_DICT", "fsdp_cpu_ram_efficient_loading": False}
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps({"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": told}))
    two = trained(tmp_path / "two", tiny, "sft", 2, launch=str(file))
    assert_equal(trained(tmp_path / "one", tiny, "sft", 4), two)
    assert two.metrics["processes"] == 2


@pytest.mark.slow
def test_shards_of_a_model_with_a_head_of_its_own_and_of_an_adapter(tmp_path: Path) -> None:
    """The head is a shard of its own there, which the fused loss reads past its module."""
    untied = tiny_llama(str(tmp_path / "untied"), hidden_size=32, layers=2, heads=2, tie_word_embeddings=False)
    one = trained(tmp_path / "one", untied, "sft", 4)
    assert_equal(one, trained(tmp_path / "two", untied, "sft", 2, launch="fsdp2", processes=2))
    lora = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    one = trained(tmp_path / "adapter-one", untied, "sft", 4, lora)
    assert_equal(one, trained(tmp_path / "adapter-two", untied, "sft", 2, lora, launch="fsdp2", processes=2))


def test_rows_per_step_that_cannot_be_kept_are_refused(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.batch_size is 4, which is no multiple of 3"):
        trained(tmp_path / "odd", tiny, "sft", 3)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_a_number_of_rows_that_no_batch_divides(tiny: str, tmp_path: Path, objective: str) -> None:
    """Nine rows, four a step: no row is trained on twice to fill up the last step of an epoch."""
    epochs = {"max_steps": -1, "num_train_epochs": 2}
    one = trained(tmp_path / "one", tiny, objective, 4, count=9, args=epochs)
    assert one.steps == 6
    assert_equal(one, trained(tmp_path / "parts", tiny, objective, 1, count=9, args=epochs))
    assert_equal(one, trained(tmp_path / "ddp", tiny, objective, 2, count=9, args=epochs, launch="ddp", processes=2))
    passes = {"launch": "fsdp2", "processes": 2, "batch_tokens": 16}
    assert_equal(one, trained(tmp_path / "cut", tiny, objective, 2, count=9, args=epochs, **passes))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_pairs_in_bfloat16_start_at_their_reference(tiny: str, tmp_path: Path, kind: str) -> None:
    """The arithmetic that GPUs take; sums of log-probabilities stay in float32."""
    found = trained(tmp_path / kind, tiny, "dpo", 2, dtype="bfloat16", launch=kind, processes=2)
    alone = trained(tmp_path / "alone", tiny, "dpo", 4, dtype="bfloat16")
    assert found.metrics["reference_gap"] < 1e-3
    assert found.metrics["loss"] == pytest.approx(alone.metrics["loss"], abs=0.02)


@pytest.mark.slow
def test_processes_share_a_base_in_four_bits(tiny: str, tmp_path: Path) -> None:
    """The first one writes it, the others read what it wrote."""
    lora = {"r": 4, "target_modules": "all-linear"}
    one = trained(tmp_path / "one", tiny, "sft", 4, lora, quantize="nf4")
    two = trained(tmp_path / "two", tiny, "sft", 2, lora, quantize="nf4", launch="ddp", processes=2)
    assert_equal(one, two)
    assert (Path(two.source) / "quantized.json").exists() and not list(Path(two.source).parent.glob("*-rounded"))
