"""Samples under way: what is written down, what counts on resume. Run: pytest tests/store/test_begun.py"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.store.begun import FILE, Begun, may_go_on
from selfimprove.store.files import RunFiles
from selfimprove.store.steps import Step
from selfimprove.types import Message, SampleRequest, SamplingParams
from selfimprove.work import only


def step(folder: Path, **inputs: str) -> Step:
    return Step(RunFiles(folder), "rounds/001/attempt/samples", inputs, None)


def request(*indexes: int) -> SampleRequest:
    return SampleRequest("k", "p", (Message("text", "?"),), indexes, tuple(100 + i for i in indexes))


def test_what_was_kept_begins_the_samples_again(tmp_path: Path) -> None:
    first = Begun(step(tmp_path, policy="a"), 3)
    first.take({"k/0": [7, 8, 9], "k/2": [5, 5, 5, 5]})
    again = Begun(step(tmp_path, policy="a"), 3).of(request(0, 1, 2))
    assert again.begun == ((7, 8, 9), (), (5, 5, 5, 5))
    assert only(again, "k/2").begun == ((5, 5, 5, 5),) and only(again, "k/1").begun == ((),)
    assert Begun(step(tmp_path, policy="b"), 3).of(request(0)) == request(0), "another policy's tokens"


def test_it_is_written_every_so_many_tokens(tmp_path: Path) -> None:
    kept, path = Begun(step(tmp_path), 10), tmp_path / "rounds/001/attempt/samples" / FILE
    kept.take({"k/0": [1] * 9})
    assert not path.exists()
    kept.take({"k/0": [1] * 10})
    before = path.read_bytes()
    kept.take({"k/0": [1] * 19})
    assert path.read_bytes() == before
    kept.take({"k/0": [1] * 20})
    assert path.read_bytes() != before
    kept.drop(["k/0"])
    kept.take({"k/1": [2] * 10})
    assert Begun(step(tmp_path), 10).of(request(0, 1)).begun == ((), (2,) * 10)
    kept.clear()
    assert not path.exists()


def test_a_torn_file_costs_tokens_only(tmp_path: Path) -> None:
    Begun(step(tmp_path), 1).take({"k/0": [1, 2]})
    path = tmp_path / "rounds/001/attempt/samples" / FILE
    path.write_bytes(path.read_bytes()[:-4])
    assert Begun(step(tmp_path), 1).of(request(0)) == request(0)


@given(st.dictionaries(st.sampled_from(["k/0", "k/1"]), st.lists(st.integers(0, 2**31 - 1), max_size=50)))
def test_any_ids_come_back(tmp_path_factory: pytest.TempPathFactory, found: dict[str, list[int]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    Begun(step(folder), 1).take(found)
    begun = Begun(step(folder), 1).of(request(0, 1)).begun or ((), ())
    assert begun == tuple(tuple(found.get(name, ())) for name in ("k/0", "k/1"))


@pytest.mark.parametrize(
    ("params", "may"),
    [
        (SamplingParams(temperature=0.7, top_k=5), True),
        (SamplingParams(extra={"ignore_eos": True, "min_p": 0.1}), True),
        (SamplingParams(stop=("x",)), False),
        (SamplingParams(logprobs=True), False),
        (SamplingParams(extra={"presence_penalty": 1.0}), False),
        (SamplingParams(extra={"min_tokens": 5}), False),
    ],
)
def test_where_the_rest_does_not_depend_on_how_it_was_begun(params: SamplingParams, may: bool) -> None:
    assert may_go_on(params) is may
