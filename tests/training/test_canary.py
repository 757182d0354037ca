from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from selfimprove.training.canary import choose
from selfimprove.training.rows import Row, Rows
from selfimprove.types import Policy, TrainResult
from tests.training.conftest import Train, demonstrations, pairs, token_logprobs


def row(prompt: int, completion: int) -> Row:
    return Row(prompt, (array("i", [*range(100, 100 + prompt), *range(500, 500 + completion)]),), 1.0)


def test_the_longest_completion_is_chosen_and_cut_around_its_start() -> None:
    ids, prompt_len = choose(Rows([row(80, 3), row(80, 70), row(80, 60)]))
    assert (len(ids), prompt_len) == (64, 16)
    assert ids == [*range(164, 180), *range(500, 548)]


def test_a_short_row_is_taken_whole() -> None:
    assert choose(Rows([row(3, 2)])) == ([100, 101, 102, 500, 501], 3)


def test_a_row_without_prompt_starts_at_its_own_first_token() -> None:
    assert choose(Rows([row(0, 3)])) == ([500, 501, 502], 1)


def canary_of(result: TrainResult) -> dict[str, Any]:
    return json.loads((Path(result.adapter or result.source).parent / "canary.json").read_text())


@pytest.mark.parametrize("lora", [None, {"r": 2}])
@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_it_is_what_the_saved_weights_say(train: Train, tiny: str, lora: Any, objective: str) -> None:
    start = Policy(tiny, "tiny")
    rows, reference = (demonstrations(), None) if objective == "sft" else (pairs(), start)
    result = train(rows, start, {"learning_rate": 3e-2}, lora=lora, reference=reference)
    canary = canary_of(result)
    prompt, completion = canary["ids"][: canary["prompt_len"]], canary["ids"][canary["prompt_len"] :]
    expected = token_logprobs(result.source, prompt, completion, result.adapter).tolist()
    assert canary["logprobs"] == pytest.approx(expected, abs=1e-4)
    before = token_logprobs(tiny, prompt, completion).tolist()
    assert max(abs(new - old) for new, old in zip(canary["logprobs"], before, strict=True)) > 0.05
