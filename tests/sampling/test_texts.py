"""Decoding and cutting, with the three kinds of tokenizer there are: built here, offline."""

from __future__ import annotations

from typing import Any

import pytest

from selfimprove.sampling.texts import Decoder
from selfimprove.testing import character_tokenizer


def byte_level() -> Any:
    """As GPT-2 and Qwen: bytes, so that one character may be several tokens, plus a few merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<eos>", *alphabet, "ab", "b#"]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [("a", "b"), ("b", "#")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


def metaspace() -> Any:
    """As Llama 2 and Gemma: a word carries the space before it, and loses it at the start of a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<eos>", "<unk>", "\u2581the", "\u2581answer", "\u2581is", "\u25814", "\u2581", "."]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def test_a_completion_continues_its_prompt() -> None:
    tokenizer = metaspace()
    prompt, completion = [2, 3], [4, 5]
    assert Decoder(tokenizer).text(prompt, completion) == " is 4"
    assert Decoder(tokenizer).text([], completion) == "is 4"


def test_special_tokens_are_text_only_on_request() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    ids = [*ids_of(tokenizer, "hi"), *tokenizer.encode("<|end|>", add_special_tokens=False), 2]
    assert Decoder(tokenizer).text((1, 20), ids) == "hi"
    assert Decoder(tokenizer).text((1, 20), ids, skip_special=False) == "hi<|end|><eos>"


def test_an_unfinished_character_is_left_out() -> None:
    tokenizer = byte_level()
    ids = ids_of(tokenizer, "né世")
    assert len(ids) == 6
    assert [Decoder(tokenizer).text((5, 6), ids[:n]) for n in range(1, 7)] == ["n", "n", "né", "né", "né", "né世"]


@pytest.mark.parametrize(
    ("text", "stop", "kept"),
    [
        ("xyz#", "#", "xyz"),
        ("x\n\nAB", "\n\nAB", "x"),
        ("#", "#", ""),
        ("xé", "é", "x"),  # the stop string's own first byte has no text yet: it must go too
        ("é世é", "世é", "é"),
        ("xab", "b", "x"),  # one token holds the end of the text and the stop string
    ],
)
def test_ids_are_cut_where_the_text_is(text: str, stop: str, kept: str) -> None:
    tokenizer = byte_level()
    ids = ids_of(tokenizer, text)
    cut = text[: text.index(stop)]
    count = Decoder(tokenizer).kept(ids_of(tokenizer, "some prompt"), ids, cut)
    assert tokenizer.decode(ids[:count]) == kept


def test_a_special_token_before_the_cut_is_kept() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    ids = [*ids_of(tokenizer, "hi"), 7, *ids_of(tokenizer, "#")]
    assert Decoder(tokenizer).kept((1,), ids, "hi") == 3
    assert Decoder(tokenizer).kept((1,), [], "") == 0


def test_nothing_is_cut_from_a_whole_text() -> None:
    tokenizer = byte_level()
    ids = ids_of(tokenizer, "whole text 世")
    assert Decoder(tokenizer).kept((), ids, "whole text 世") == len(ids)
