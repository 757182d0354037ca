"""Several sources of problems: split one by one, mixed by weight, told what their template is told.

Run: pytest tests/test_mixture.py
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove import mixture
from selfimprove.config import InvalidConfig, RunConfig, load_config
from selfimprove.errors import ConfigError
from selfimprove.prompts import render
from selfimprove.testing import character_tokenizer
from selfimprove.types import Problem


def rows(folder: Path, name: str, count: int, **more: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    made = [{"prompt": f"{name} {i}?", "answer": str(i), **more} for i in range(count)]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, made)))
    return f"{name}.jsonl"


def config(folder: Path, sources: Any, **changes: Any) -> RunConfig:
    told = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"sources": sources, "gate": 30, "report": 15, **changes.pop("data", {})},
        "recipe": "rest_em",
        "verifier": "answer_match",
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(told))
    return load_config([path])


def tasks(problems: Any) -> Counter[str]:
    return Counter(problem.task for problem in problems)


def test_each_source_holds_out_its_share(tmp_path: Path) -> None:
    sources = [
        {"source": rows(tmp_path, "sums", 100), "task": "sums"},
        {"source": rows(tmp_path, "code", 50), "task": "code", "report": 2},
    ]
    mixed = mixture.load(config(tmp_path, sources))
    assert tasks(mixed.splits.gate) == {"sums": 20, "code": 10}
    assert tasks(mixed.splits.report) == {"sums": 13, "code": 2}
    parts = [{p.id for p in part} for part in (mixed.splits.train, mixed.splits.gate, mixed.splits.report)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 150
    alone = mixture.load(config(tmp_path, [{**sources[0], "gate": 20, "report": 13}]))
    assert {p.id for p in alone.splits.gate} <= parts[1], "what a task is measured on does not depend on the others"


def test_a_round_takes_of_each_source_by_its_weight(tmp_path: Path) -> None:
    sources = [
        {"source": rows(tmp_path, "sums", 100), "task": "sums", "weight": 1},
        {"source": rows(tmp_path, "code", 100), "task": "code", "weight": 3},
    ]
    told = config(tmp_path, sources, problems_per_round=40)
    mixed = mixture.load(told)
    for index in (1, 2):
        asked = mixture.asked(mixed, told, index)
        assert tasks(asked) == {"sums": 10, "code": 30}
        assert mixture.asked(mixed, told, index) == asked
    fresh = config(tmp_path, sources, problems_per_round=20, ask="fresh")
    rounds = [{p.id for p in mixture.asked(mixed, fresh, index)} for index in (1, 2, 3)]
    assert len(set.union(*rounds)) == 60, "no problem is asked twice"
    sized = config(tmp_path, [{**source, "weight": None} for source in sources], problems_per_round=40)
    assert tasks(mixture.asked(mixture.load(sized), sized, 1)) == {"sums": 20, "code": 20}


def test_one_source_is_as_before(tmp_path: Path) -> None:
    """`data.problems` and a list of one are the same run."""
    name = rows(tmp_path, "sums", 60)
    one = config(tmp_path, None, data={"problems": name, "sources": None})
    several = config(tmp_path, [name])
    assert mixture.load(one).splits == mixture.load(several).splits
    assert mixture.asked(mixture.load(one), one, 1) == mixture.load(one).splits.train


def test_a_row_keeps_its_own_task_and_a_problem_its_first_source(tmp_path: Path) -> None:
    first, second = rows(tmp_path / "a", "sums", 40), rows(tmp_path / "b", "sums", 60, task="own")
    said: list[str] = []
    sources = [{"source": f"a/{first}", "task": "one"}, {"source": f"b/{second}", "task": "two"}]
    mixed = mixture.load(config(tmp_path, sources, data={"gate": 5, "report": 5}), said.append)
    assert tasks(mixed.problems) == {"one": 40, "own": 20}
    assert any("40 problems are in a source before it" in text for text in said)


def test_a_source_tells_its_template(tmp_path: Path) -> None:
    made = [{"prompt": [{"role": "user", "content": f"{i}?"}], "answer": "1"} for i in range(30)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, made)))
    sources = [
        {"source": "chat.jsonl", "chat_template_kwargs": {"loud": True}, "gate": 2, "report": 2},
        {"source": rows(tmp_path, "sums", 30), "gate": 2, "report": 2},
    ]
    mixed = mixture.load(config(tmp_path, sources))
    told = next(p for p in mixed.problems if p.prompt[0].role == "template")
    tokenizer = character_tokenizer(chat_template=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if loud %}!{% endif %}"
    assert render(tokenizer, told.prompt).text == told.text + "!"
    assert render(tokenizer, told.prompt[1:]).text == told.text
    assert "loud" not in told.text, "what a template is told is no part of what is asked"
    texts = [{"source": "sums.jsonl", "chat_template_kwargs": {"loud": True}}]
    with pytest.raises(ConfigError, match="chat_template_kwargs are for conversations"):
        mixture.load(config(tmp_path, texts, data={"gate": 2, "report": 2}))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    name = rows(tmp_path, "sums", 60)
    for sources, changes, words in (
        ([{"source": name, "weight": 2}], {}, "'weight' needs 'problems_per_round'"),
        ([{"source": name, "weight": 2}, name], {"problems_per_round": 9}, "give every source a 'weight', or none"),
        ([], {}, "at least 1"),
        ([name], {"data": {"problems": name}}, "give either 'problems' or 'sources'"),
        (["sum.jsonl"], {}, "no file 'sum.jsonl' - did you mean 'sums.jsonl'"),
    ):
        with pytest.raises(InvalidConfig, match=words):
            config(tmp_path, sources, **changes)
    with pytest.raises(ConfigError, match="60 problems leave none to train on after gate"):
        mixture.load(config(tmp_path, [{"source": name, "gate": 50, "report": 10}]))


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8), st.integers(0, 10_000))
def test_apportioning_gives_whole_numbers_that_add_up(weights: list[float], total: int) -> None:
    counts = mixture.apportion(weights, total)
    assert sum(counts) == total
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - total * weight / sum(weights)) < 1 + 1e-6


def test_problems_are_plain_nouns(tmp_path: Path) -> None:
    assert isinstance(mixture.load(config(tmp_path, [rows(tmp_path, "sums", 60)])).problems[0], Problem)


def test_a_question_in_another_form_is_the_same_question(tmp_path: Path) -> None:
    """As a text here and as a message with a key there, it would be trained on here and held out there."""
    texts = rows(tmp_path, "sums", 40)
    chat = [{"prompt": [{"role": "user", "content": f"sums  {i}?"}], "answer": "1", "key": f"k{i}"} for i in range(60)]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, chat)))
    mixed = mixture.load(config(tmp_path, [texts, "chat.jsonl"], data={"gate": 5, "report": 5}))
    assert len(mixed.problems) == 60
    assert len({" ".join(problem.text.split()) for problem in mixed.problems}) == 60
