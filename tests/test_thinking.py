"""Thinking is a span: verifiers see what follows it, and it is trained on or not. Run: pytest tests/test_thinking.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.prompts import Rendered
from selfimprove.run import execute
from selfimprove.sampling.texts import Decoder, spans
from selfimprove.selection import row_of
from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples
from selfimprove.store.runs import committed
from selfimprove.store.steps import Step, read_parts
from selfimprove.store.tables import read_examples
from selfimprove.testing import character_tokenizer
from selfimprove.types import Sample, Turn

THINK = {"start": "<think>", "end": "</think>", "train_on": "all"}
CHANNELS = {"start": "<|channel|>analysis<|message|>", "end": "<|channel|>final<|message|>", "train_on": "answer"}
SCRIPT = """
CUT = ("<think>5</think>4", "length")
SAID = ["<think>4? no, 5</think>\\n\\n4", "<think>4, or", "4", "<think>5</think>4</think>", CUT]
def say(messages, index, seed, policy):
    return SAID[index]
"""
VERIFIER = "def exactly(problem, sample):\n    return sample.completion.partition('<')[0] == problem.answer\n"
RECIPE = """
from dataclasses import dataclass
from selfimprove import Policy, Round, demonstrations, passed
@dataclass(frozen=True)
class AllConfig:
    n: int = 5
def all_passed(round: Round, config: AllConfig) -> Policy:
    return round.train(demonstrations(round.attempt(n=config.n), passed()), start="previous")
"""


def split(text: str, prompt: str = "") -> list[tuple[str, str]]:
    """Role and text of each span of a response of single characters."""
    closed, turns = spans(THINK, prompt, text, int)
    assert closed == ("</think>" in text or not turns)
    return [(turn.role, text[turn.start : turn.end]) for turn in turns]


def test_the_spans_of_a_response() -> None:
    assert split("4") == []
    assert split("<think>so</think>4") == [("thinking", "<think>so</think>"), ("assistant", "4")]
    assert split("so</think>4", "question<think>\n") == [("thinking", "so</think>"), ("assistant", "4")]
    assert split("<think>so") == [("thinking", "<think>so")]
    assert split("4 <think>late</think>") == [], "what was said first is the answer"


def test_delimiters_that_are_special_tokens_cut_where_the_answer_begins() -> None:
    from transformers import AddedToken

    tokenizer = character_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken(t, special=True) for t in ("<|channel|>", "<|message|>", "<|end|>")]}
    )
    decoder = Decoder(tokenizer)
    said = "<|channel|>analysis<|message|>hm<|end|><|channel|>final<|message|>four"
    ids = tokenizer.encode(said, add_special_tokens=False)
    text = decoder.text((), ids)
    closed, turns = decoder.spans(CHANNELS, Rendered("", ()), ids, True)
    assert closed and [turn.trained for turn in turns] == [False, True]
    assert tokenizer.decode(ids[turns[1].start :]) == "four" == text[turns[0].chars :]


def run(folder: Path, train_on: str) -> tuple[dict[str, Any], list[Sample], list[Any]]:
    for name, text in (("s.py", SCRIPT), ("v.py", VERIFIER), ("r.py", RECIPE)):
        (folder / name).write_text(text)
    (folder / "p.jsonl").write_text(json.dumps({"prompt": "2+2", "answer": "4"}) + "\n")
    whole = {
        "model": {"build": "selfimprove.testing:tiny_llama", "thinking": {"train_on": train_on}},
        "data": {"problems": "p.jsonl", "gate": 0, "report": 0},
        "recipe": "r.py:all_passed",
        "verifier": {"name": "v.py:exactly", "audit": "off"},
        "rounds": 1,
        "sampling": {"type": "scripted", "script": "s.py:say"},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (folder / "c.yaml").write_text(json.dumps(whole))
    execute(load_config([str(folder / "c.yaml")]), folder / "run", progress="none")
    files = RunFiles(folder / "run")
    markers = dict(committed(files))
    step = Step(files, "rounds/001/attempt/samples", {}, None)
    (part,) = read_parts(files, step.key).values()
    examples = files.local("rounds/001/train/examples")
    (file,) = examples.glob("a-*/*.parquet")
    return dict(markers["rounds/001"].counts), read_samples(step, part), list(read_examples(file))


def test_verifiers_see_the_answer_and_unclosed_thinking_is_cut_off(tmp_path: Path) -> None:
    counts, samples, _ = run(tmp_path, "all")
    assert [sample.finish for sample in samples] == ["stop", "thinking", "stop", "stop", "length"]
    assert [sample.spoken.completion for sample in samples[:4]] == ["4", "", "4", "4</think>"]
    assert (counts["passed"], counts["failed"], counts["truncated"]) == (3, 0, 2)


@pytest.mark.parametrize("train_on", ["all", "answer"])
def test_what_is_trained_on(tmp_path: Path, train_on: str) -> None:
    _, samples, examples = run(tmp_path, train_on)
    said = {row.source[0].rpartition("/")[2]: row for row in examples}
    whole = "<think>4? no, 5</think>\n\n4"
    first = said["0"]
    spoken = "".join(map(chr, first.completion_ids))
    assert spoken == (whole if train_on == "all" else "\n\n4")
    read = "".join(map(chr, first.prompt_ids))
    assert read == ("2+2" if train_on == "all" else "2+2<think>4? no, 5</think>")
    assert [*first.prompt_ids, *first.completion_ids] == [*samples[0].prompt_ids, *samples[0].token_ids]


def test_without_the_ids_of_the_prompt_the_answer_alone_is_the_row() -> None:
    turns = (Turn("thinking", 0, 3, False, 3), Turn("assistant", 3, 4, True, 4))
    sample = Sample("s", "p", 0, "hint", "seen", [1], "<t>4", [9, 9, 9, 5], "stop", 0, "", turns=turns)
    assert row_of(sample) == ("4", None, None)
