from __future__ import annotations

from array import array
from typing import Any

import pytest

from selfimprove.errors import ConfigError, PreconditionError, Starved
from selfimprove.testing import character_tokenizer
from selfimprove.training.rows import Collator, Encoder, Row, Rows, encode
from selfimprove.training.sft import SFTCollator
from selfimprove.types import Demonstration, Label, Message
from tests.training.conftest import PROMPT, demonstration, pair


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(character_tokenizer(), (2,), 100, 8)


def ids_of(rows: Rows) -> list[list[list[int]]]:
    return [[list(ids) for ids in row.sequences] for row in rows.kept]


def test_ids_are_trained_exactly_as_given(encoder: Encoder) -> None:
    rows = encode("sft", [demonstration((20, 21), prompt=(9, 8))], encoder)
    assert ids_of(rows) == [[[9, 8, 20, 21]]]
    assert rows.kept[0].prompt_len == 2


def test_text_is_rendered_tokenised_and_ended_once(encoder: Encoder) -> None:
    (row,) = encode("sft", [Demonstration((Message("text", "ab"),), "c")], encoder).kept
    tokenizer: Any = encoder.tokenizer
    assert list(row.sequences[0]) == [1, *tokenizer.encode("abc", add_special_tokens=False), 2]
    assert row.prompt_len == 3


def test_prompt_ids_and_completion_text_may_be_mixed(encoder: Encoder) -> None:
    tokenizer: Any = encoder.tokenizer
    rows = encode("sft", [Demonstration(PROMPT, "7", prompt_ids=[1, 50])], encoder)
    assert ids_of(rows) == [[[1, 50, *tokenizer.encode("7", add_special_tokens=False), 2]]]


def test_rows_that_cannot_be_trained_are_counted_by_reason(encoder: Encoder) -> None:
    examples = [
        demonstration(),
        demonstration(()),
        demonstration((2,)),
        Demonstration(PROMPT, "", [1]),
        demonstration(range(20, 26)),
    ]
    rows = encode("sft", examples, encoder)
    assert len(rows.kept) == 1
    assert rows.dropped == {"empty": 3, "too_long": 1}


def test_a_row_of_exactly_the_limit_is_kept(encoder: Encoder) -> None:
    assert len(encode("sft", [demonstration(range(20, 25))], encoder).kept[0].sequences[0]) == 8


def test_pairs_drop_identical_answers_and_empty_chosen_ones_but_keep_an_empty_rejected_one(encoder: Encoder) -> None:
    examples = [pair(), pair((20, 2), (20, 2)), pair((2,)), pair((20, 2), (2,)), pair((20, 2), range(20, 26))]
    rows = encode("dpo", examples, encoder)
    assert len(rows.kept) == 2
    assert rows.dropped == {"empty": 1, "identical": 1, "too_long": 1}


def test_no_row_left_says_why(encoder: Encoder) -> None:
    with pytest.raises(Starved, match="2 too_long") as caught:
        encode("sft", [demonstration(range(20, 40))] * 2, encoder)
    assert "training.max_tokens" in caught.value.hint


def test_rows_of_another_kind_are_refused(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match="row 1 is Label"):
        encode("sft", [demonstration(), Label(PROMPT, "x", True)], encoder)


@pytest.mark.parametrize("token", [-1, 100])
def test_an_id_outside_the_vocabulary_is_refused(encoder: Encoder, token: int) -> None:
    with pytest.raises(ConfigError, match=f"token id {token} is outside the model's 100"):
        encode("sft", [demonstration((20, token))], encoder)


def test_a_weight_that_is_no_number_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match="weight is nan"):
        encode("sft", [demonstration(weight=float("nan"))], encoder)


def test_a_text_cannot_be_ended_without_an_end_token() -> None:
    with pytest.raises(PreconditionError, match="no end token"):
        encode("sft", [Demonstration(PROMPT, "4")], Encoder(character_tokenizer(), (), 100, None))


def test_labels_mask_exactly_the_prompt_and_the_padding(encoder: Encoder) -> None:
    rows = encode("sft", [demonstration((20, 21, 2)), demonstration((22,), 0.5, (1,))], encoder)
    batch = SFTCollator(rows, pad_id=0)([{"row": 0}, {"row": 1}])
    assert batch["input_ids"].tolist() == [[1, 5, 6, 20, 21, 2], [1, 22, 0, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 20, 21, 2], [-100, 22, -100, -100, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    assert batch["weight"].tolist() == [1.0, 0.5]


def test_pairs_are_batched_chosen_first_and_padded_to_a_multiple() -> None:
    rows = Rows([Row(1, (array("i", [9, 20, 2]), array("i", [9, 30])), 1.0)])
    batch = Collator(rows, pad_id=7, multiple=4).batch([0])
    assert batch["input_ids"].tolist() == [[9, 20, 2, 7], [9, 30, 7, 7]]
    assert batch["completion_mask"].tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
