"""Batches by a budget of tokens, and packed rows: the gradient of the whole batch.

Run: pytest tests/training/test_passes.py
"""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.store.tables import write_examples
from selfimprove.training.passes import check_packable, cut
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Demonstration, Example, Policy, PreferencePair, TrainRequest, TrainResult
from tests.training.conftest import demonstration, distance, pair, same_weights

PLAIN = {"learning_rate": 0.3, "optim": "sgd", "max_grad_norm": 0.0, "max_steps": 3, "per_device_train_batch_size": 8}


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=40),
    st.integers(1, 300),
    st.integers(1, 2),
    st.sampled_from([1, 8]),
)
def test_every_row_is_in_one_pass_and_no_pass_is_over_the_budget(
    lengths: list[int], budget: int, sides: int, multiple: int
) -> None:
    passes = cut(lengths, budget, sides, multiple)
    assert sorted(row for rows in passes for row in rows) == list(range(len(lengths)))
    for rows in passes:
        width = math.ceil(max(lengths[row] for row in rows) / multiple) * multiple
        assert len(rows) == 1 or len(rows) * width * sides <= budget


def rows_of(kind: str) -> list[Example]:
    """Lengths between 4 and 34 tokens, weights between a half and two."""
    sizes = [3, 30, 1, 17, 8, 2, 25, 12]
    if kind == "sft":
        return [demonstration([20 + i] * n + [2], 0.5 * (i % 4 + 1), (1, 5)) for i, n in enumerate(sizes)]
    return [pair([20 + i] * n + [2], [40 + i] * (n // 2 + 1) + [2], 0.5 * (i % 4 + 1)) for i, n in enumerate(sizes)]


def trained(
    folder: Path, tiny: str, rows: list[Example], args: dict[str, Any] | None = None, **config: Any
) -> TrainResult:
    folder.mkdir()
    (folder / "out").mkdir()
    write_examples(folder / "rows.parquet", rows, type(rows[0]))
    start = Policy(tiny, "tiny")
    pairs = isinstance(rows[0], PreferencePair)
    request = TrainRequest(
        "dpo" if pairs else "sft",
        str(folder / "rows.parquet"),
        start,
        str(folder / "out"),
        reference=start if pairs else None,
        args={**PLAIN, **(args or {})},
        dtype="float32",
    )
    return TRLTrainer({"threads": 1, **config}, {}).train(request)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("config", [{"batch_tokens": 40}, {"batch_tokens": 64, "packing": True}, {"packing": True}])
def test_supervised_rows(tmp_path: Path, tiny: str, config: dict[str, Any], kernel: str) -> None:
    args = {"model_init_kwargs": {"attn_implementation": kernel}}
    whole = trained(tmp_path / "whole", tiny, rows_of("sft"), args)
    cut_up = trained(tmp_path / "cut", tiny, rows_of("sft"), args, **config)
    assert distance(whole, cut_up) < 1e-6
    assert whole.metrics["mean_loss"] == pytest.approx(cut_up.metrics["mean_loss"], rel=1e-5)


@pytest.mark.parametrize("losses", [["sigmoid"], ["sigmoid", "sft"], ["ipo"]])
def test_pairs(tmp_path: Path, tiny: str, losses: list[str]) -> None:
    args = {"loss_type": losses, "loss_weights": [1.0, 0.5][: len(losses)]}
    whole = trained(tmp_path / "whole", tiny, rows_of("dpo"), args)
    cut_up = trained(tmp_path / "cut", tiny, rows_of("dpo"), args, batch_tokens=70)
    assert distance(whole, cut_up) < 2e-5  # ipo's gradients are steep
    assert whole.metrics["mean_loss"] == pytest.approx(cut_up.metrics["mean_loss"], rel=1e-5)


def test_a_packed_row_does_not_see_the_one_before_it(tmp_path: Path, tiny: str) -> None:
    """The same rows behind other ones: whatever a row saw of its neighbour would show in the weights."""
    rows = [demonstration([20, 21, 2], 1.0, (1, 5)), demonstration([60] * 20 + [2], 0.0, (1, 9))]
    others = [rows[0], demonstration([70] * 20 + [2], 0.0, (1, 8))]
    one, two = (trained(tmp_path / n, tiny, r, packing=True) for n, r in (("one", rows), ("two", others)))
    assert distance(one, two) < 1e-7
    assert not same_weights(one, trained(tmp_path / "three", tiny, [rows[0], demonstration([70, 2])], packing=True))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_shards_that_need_different_numbers_of_passes(tmp_path: Path, tiny: str, kind: str) -> None:
    """One process has the long rows; every pass gathers the shards of both."""
    args = {"per_device_train_batch_size": 4}
    whole = trained(tmp_path / "whole", tiny, rows_of(kind))
    two = trained(tmp_path / "two", tiny, rows_of(kind), args, batch_tokens=34, launch="fsdp2", processes=2)
    assert distance(whole, two) < 1e-5
    both = trained(tmp_path / "ddp", tiny, rows_of(kind), args, batch_tokens=34, launch="ddp", processes=2)
    assert distance(whole, both) < 1e-5


def test_what_cannot_be_packed_is_refused(tmp_path: Path, tiny: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.packing is for supervised rows"):
        trained(tmp_path / "pairs", tiny, rows_of("dpo"), packing=True)
    text = SimpleNamespace(layer_types=["linear_attention", "full_attention"])
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))
    with pytest.raises(ConfigError, match="carries linear_attention from row to row"):
        check_packable(model)


def test_a_row_longer_than_the_budget_goes_alone(tmp_path: Path, tiny: str) -> None:
    rows: list[Example] = [Demonstration(d.prompt, "", d.prompt_ids, d.completion_ids) for d in rows_of("sft")]  # type: ignore[union-attr]
    assert distance(trained(tmp_path / "a", tiny, rows), trained(tmp_path / "b", tiny, rows, batch_tokens=5)) < 1e-6
