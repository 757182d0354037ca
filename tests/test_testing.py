"""The tiny models: same arguments, same bytes; text comes back as it went in."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.prompts import load_tokenizer
from selfimprove.testing import character_tokenizer, tiny_llama, tiny_qwen3


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert tiny_llama(str(tmp_path / name), seed=seed, layers=1) == str(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["model.safetensors"] != contents(tmp_path / "c")["model.safetensors"]
    assert {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"} <= set(
        contents(tmp_path / "a")
    )


@pytest.mark.parametrize("tiny", [tiny_llama, tiny_qwen3])
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_what_was_asked_for(tiny: object, tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert callable(tiny)
    tiny(str(tmp_path), hidden_size=64, layers=2, heads=2, vocabulary="01+= ", tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    shared = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (shared, model.config.vocab_size, model.config.num_hidden_layers) == (tied, 9, 2)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (2, 0)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.encode("1+1=") == [1, 5, 6, 5, 7]


@pytest.mark.parametrize("text", ["two  spaces", " leading , comma .", "don't\n\n'stop'", "~{}[]\\"])
def test_text_comes_back_as_it_went_in(text: str) -> None:
    tokenizer = character_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_an_unknown_character_is_one_token() -> None:
    assert character_tokenizer(vocabulary="ab").encode("aéb", add_special_tokens=False) == [4, 3, 5]
