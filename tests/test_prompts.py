"""Prompts to token ids, with tokenizers built here, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.prompts import end_token_ids, load_tokenizer, render, split_revision
from selfimprove.testing import character_tokenizer
from selfimprove.types import Message, messages


def ends_with_eos() -> Any:
    """A tokenizer that puts a start token before and an end token after every text."""
    from tokenizers import processors

    tokenizer = character_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return tokenizer


def test_plain_text_gets_the_start_token_that_the_tokenizer_adds() -> None:
    with_start, without = character_tokenizer(), character_tokenizer(add_bos=False)
    rendered = render(with_start, messages("2 + 2 ="))
    assert rendered.text == "2 + 2 ="
    assert rendered.ids[0] == 1
    assert with_start.decode(rendered.ids[1:]) == "2 + 2 ="
    assert render(without, messages("2 + 2 =")).ids == rendered.ids[1:]


def test_plain_text_never_ends_with_an_end_token() -> None:
    tokenizer = ends_with_eos()
    assert tokenizer.encode("hi")[-1] == 2
    assert render(tokenizer, messages("hi")).ids == render(character_tokenizer(), messages("hi")).ids


def test_plain_text_is_not_put_through_the_chat_template() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    assert tokenizer.decode(render(tokenizer, messages("hi")).ids) == "<bos>hi"


def test_a_start_token_is_never_doubled() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    assert render(tokenizer, messages("<bos>hi")).ids == render(tokenizer, messages("hi")).ids
    chat = render(tokenizer, (Message("user", "hi"),))
    assert chat.ids.count(1) == 1


def test_a_conversation_goes_through_the_template_with_the_generation_prompt() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    rendered = render(tokenizer, (Message("system", "be brief"), Message("user", "hi")))
    assert rendered.text == "<bos><|system|>be brief<|end|><|user|>hi<|end|><|assistant|>"
    assert tokenizer.decode(rendered.ids) == rendered.text
    assert len(rendered.ids) == len("be briefhi") + 6


def test_a_prefix_starts_the_response() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    assert render(tokenizer, (Message("user", "hi"),), prefix="So").text.endswith("<|assistant|>So")
    assert render(tokenizer, messages("2+2"), prefix="=") == render(tokenizer, messages("2+2="))


def test_an_empty_prompt_is_the_start_token_or_nothing() -> None:
    assert render(character_tokenizer(), messages("")).ids == (1,)
    assert render(character_tokenizer(add_bos=False), messages("")).ids == ()


@pytest.mark.parametrize(
    ("prompt", "prefix", "message"),
    [
        (messages("ab\0c"), "", "text: a NUL character at character 2"),
        ((Message("user", "ok"), Message("user", "x\ud800")), "", r"user: a lone surrogate \(U\+D800\) at character 1"),
        (messages("ok"), "\udfff", r"prefix: a lone surrogate \(U\+DFFF\) at character 0"),
    ],
)
def test_text_that_cannot_be_encoded_is_named(prompt: tuple[Message, ...], prefix: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render(character_tokenizer(chat_template=True), prompt, prefix)


def test_a_conversation_needs_a_template() -> None:
    with pytest.raises(ConfigError, match="no chat template") as caught:
        render(character_tokenizer(), (Message("user", "hi"),))
    assert "model.chat_template" in caught.value.hint


def test_what_a_template_refuses_is_a_configuration_error() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    tokenizer.chat_template = "{{ raise_exception('system role not supported') }}"
    with pytest.raises(ConfigError, match="roles system, user: system role not supported"):
        render(tokenizer, (Message("system", "a"), Message("user", "b")))


def test_text_and_conversation_do_not_mix() -> None:
    tokenizer = character_tokenizer(chat_template=True)
    with pytest.raises(ConfigError, match="mixture"):
        render(tokenizer, (Message("text", "a"), Message("user", "b")))


def test_end_tokens_come_from_the_tokenizer_and_the_generation_config(tmp_path: Path) -> None:
    tokenizer = character_tokenizer()
    assert end_token_ids(tokenizer, str(tmp_path)) == (2,)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    assert end_token_ids(tokenizer, str(tmp_path)) == (2, 9)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 2]}))
    assert end_token_ids(tokenizer, str(tmp_path)) == (2, 7)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    assert end_token_ids(tokenizer, str(tmp_path)) == (2, 5)
    (tmp_path / "generation_config.json").write_text("{}")
    assert end_token_ids(tokenizer, str(tmp_path)) == (2,)


def test_a_tokenizer_comes_back_from_a_directory(tmp_path: Path) -> None:
    character_tokenizer(chat_template=True).save_pretrained(tmp_path / "model")
    tokenizer = load_tokenizer(str(tmp_path / "model"))
    text = "two  spaces , a comma .\n\nAnd 'quotes'"
    assert tokenizer.decode(render(tokenizer, messages(text)).ids[1:]) == text
    template = tmp_path / "other.jinja"
    template.write_text("Q: {{ messages[0]['content'] }} A:")
    other = load_tokenizer(str(tmp_path / "model"), chat_template=str(template))
    assert render(other, (Message("user", "hi"),)).text == "Q: hi A:"


def test_a_missing_tokenizer_or_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="no tokenizer could be loaded"):
        load_tokenizer(str(tmp_path))
    character_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"model\.chat_template"):
        load_tokenizer(str(tmp_path / "model"), chat_template=str(tmp_path / "absent.jinja"))


def test_a_revision_is_split_off_hub_ids_only(tmp_path: Path) -> None:
    directory = tmp_path / "a@b"
    directory.mkdir()
    assert split_revision("org/name@abc") == ("org/name", "abc")
    assert split_revision("org/name") == ("org/name", None)
    assert split_revision(str(directory)) == (str(directory), None)
