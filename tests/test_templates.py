"""The chat templates that TRL ships, on a tokenizer with their special tokens. Run: pytest tests/test_templates.py"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError
from selfimprove.prompts import Style, end_token_ids, render, turn_end
from selfimprove.training.rows import Encoder, encode
from selfimprove.types import Demonstration, Message, PreferencePair

PACKAGE = importlib.util.find_spec("trl")
FOLDER = Path(str(PACKAGE and PACKAGE.origin)).parent / "chat_templates"
FAMILIES = {  # template -> what ends its turns
    "qwen3": "<|im_end|>", "qwen2_5": "<|im_end|>", "llama3": "<|eot_id|>", "llama3_1": "<|eot_id|>",
    "llama3_2": "<|eot_id|>", "deepseekv3": "<｜end▁of▁sentence｜>", "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>", "gptoss": "<|return|>", "phi3": "<|end|>", "phi3_5": "<|end|>", "glm4moe": None,
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
}  # fmt: skip
SPECIAL = re.compile(r"<[|｜][^<>\s'\"{}]+?[|｜]>|<(?:start|end)_of_turn>|<bos>|<eos>|</?s>|\[/?INST\]|\[gMASK\]|<sop>")
QUESTION = (Message("user", "How many?"),)


@lru_cache
def tokenizer(name: str) -> Any:
    """A small byte-level BPE, trained here, with the family's special tokens and template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    template = (FOLDER / f"{name}.jinja").read_text()
    special = sorted({*SPECIAL.findall(template), *SPECIAL.findall("".join(filter(None, FAMILIES.values()))), "<pad>"})
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["How many are there? There are four. <think> so </think> Well, hello."] * 50, trainer)
    ends = SPECIAL.findall(FAMILIES[name] or "<|endoftext|>")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=ends[-1], pad_token="<pad>", bos_token="<bos>")
    wrapped.chat_template = template
    return wrapped


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_of_a_turn_is_learnt_from_the_template(name: str, tmp_path: Path) -> None:
    made = tokenizer(name)
    ended = turn_end(made)
    assert "".join(made.convert_ids_to_tokens(list(ended))) == (FAMILIES[name] or "")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    ids = end_token_ids(made, str(tmp_path))
    assert 7 in ids and set(ended[-1:]) <= set(ids)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_trained_is_what_was_sampled(name: str) -> None:
    made = tokenizer(name)
    prompt = render(made, QUESTION)
    assert prompt.ids == tuple(made(prompt.text, add_special_tokens=False)["input_ids"])
    assert sum(token == made.bos_token_id for token in prompt.ids) <= 1, "no doubled start"
    ends = turn_end(made) or (made.eos_token_id,)
    encoder = Encoder(made, ends, len(made), None)
    sampled = [*made.encode("<think>so</think>There are four.", add_special_tokens=False), *ends]
    shared = {"prompt": QUESTION, "prompt_ids": list(prompt.ids), "source": ("s",)}
    (row,) = encode("sft", [Demonstration(completion="", completion_ids=sampled, **shared)], encoder).kept
    assert (list(row.sequences[0]), row.prompt_len) == ([*prompt.ids, *sampled], len(prompt.ids))
    pair = PreferencePair(chosen="", chosen_ids=sampled, rejected="", rejected_ids=sampled[1:], **shared)
    (row,) = encode("dpo", [pair], encoder).kept
    assert [list(ids) for ids in row.sequences] == [[*prompt.ids, *sampled], [*prompt.ids, *sampled[1:]]]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_demonstration_ends_as_a_turn_does(name: str) -> None:
    """Prompt, text and end token are the beginning of the conversation as the template itself writes it."""
    made = tokenizer(name)
    encoder = Encoder(made, (made.eos_token_id,), len(made), None)
    row = encode("sft", [Demonstration(QUESTION, "There are four.", source=())], encoder).kept[0]
    said = made.decode(row.sequences[0][row.prompt_len :])
    assert said == f"There are four.{FAMILIES[name] or made.eos_token}"


def test_the_template_is_told_what_the_configuration_says() -> None:
    made = tokenizer("qwen3")
    plain, still = render(made, QUESTION), render(made, QUESTION, style=Style(options={"enable_thinking": False}))
    assert "</think>" not in plain.text and still.text.endswith("<think>\n\n</think>\n\n")
    told = render(made, QUESTION, style=Style(system="Be brief."))
    assert told.text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    own = (Message("system", "Be long."), *QUESTION)
    assert "Be brief." not in render(made, own, style=Style(system="Be brief.")).text


def test_tools_and_their_results_are_rendered_by_the_template() -> None:
    made = tokenizer("qwen3")
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    prompt = (
        Message("tools", json.dumps([{"type": "function", "function": {"name": "add", "parameters": {}}}])),
        Message("user", "1+2?"),
        Message("json", json.dumps({"role": "assistant", "content": "", "tool_calls": [call]})),
        Message("json", json.dumps({"role": "tool", "content": "SECRET 3", "tool_call_id": "c"})),
    )
    rendered = render(made, prompt)
    assert '"name": "add"' in rendered.text and "<tool_call>" in rendered.text and "SECRET 3" in rendered.text
    encoder = Encoder(made, (made.eos_token_id,), len(made), None)
    row = encode("sft", [Demonstration(prompt, "It is 3.", source=())], encoder).kept[0]
    assert "SECRET" not in made.decode(row.sequences[0][row.prompt_len :]), "a tool's output is never trained on"
    assert tuple(row.sequences[0][: row.prompt_len]) == rendered.ids


def test_what_a_template_refuses_names_the_roles() -> None:
    made = tokenizer("gemma")
    with pytest.raises(ConfigError, match="refuses a conversation of roles system, user"):
        render(made, (Message("system", "x"), *QUESTION))
