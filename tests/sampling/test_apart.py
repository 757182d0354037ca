"""An engine under another interpreter gives what one in this process gives. Run: pytest tests/sampling/test_apart.py"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import EngineDead, PreconditionError, SelfImproveError
from selfimprove.sampling.apart import ApartSampler, params_of, request_of, sample_of
from selfimprove.sampling.scripted import ScriptedSampler
from selfimprove.types import Message, Policy, Sample, SampleRequest, SamplingParams, Turn

SCRIPT = """
def answer(messages, index, seed, policy):
    print("libraries talk")
    if messages[0].content == "boom":
        raise RuntimeError("boom")
    return f"{messages[0].content} {index} {seed} \\u2028 \\U0001f600"
"""


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "script.py").write_text(SCRIPT)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntest -z "$VIRTUAL_ENV" || exit 9\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return {"type": "scripted", "script": f"{tmp_path / 'script.py'}:answer", "python": str(python)}


@pytest.fixture
def apart(config: dict[str, Any]) -> Iterator[ApartSampler]:
    made = ApartSampler(config, {})
    yield made
    made.close()


def policy(folder: Path) -> Policy:
    (folder / "model").mkdir(exist_ok=True)
    return Policy(str(folder / "model"), "digest")


def request(text: str, count: int = 3) -> SampleRequest:
    return SampleRequest("k", "p", (Message("text", text),), tuple(range(count)), tuple(range(7, 7 + count)))


def test_the_same_samples_come_back(apart: ApartSampler, config: dict[str, Any], tmp_path: Path) -> None:
    here = ScriptedSampler({**config, "python": None}, {})
    drawn = []
    for sampler in (apart, here):
        sampler.load(policy(tmp_path))
        found, left = sampler.pump([request("2+2=")], SamplingParams(max_tokens=50))
        while left:
            more, left = sampler.pump([], SamplingParams(max_tokens=50))
            found += more
        drawn.append(sorted(found, key=lambda sample: sample.index))
    assert len(drawn[0]) == 3
    assert [asdict(a) for a in drawn[0]] == [json.loads(json.dumps(asdict(b))) | ids(b) for b in drawn[1]]
    assert apart.partials(1) == {}
    apart.abort()


def ids(sample: Sample) -> dict[str, Any]:
    return {"prompt_ids": tuple(sample.prompt_ids), "token_ids": tuple(sample.token_ids), "turns": ()}


def test_what_it_raises_is_raised_here(apart: ApartSampler, tmp_path: Path) -> None:
    apart.load(policy(tmp_path))
    with pytest.raises((SelfImproveError, RuntimeError), match="boom"):
        apart.pump([request("boom")], SamplingParams())
    apart.abort()


def test_a_process_that_is_gone_is_a_dead_engine(apart: ApartSampler, tmp_path: Path) -> None:
    apart.load(policy(tmp_path))
    assert apart._process is not None
    os.kill(apart._process.pid, signal.SIGKILL)
    apart._process.wait()
    with pytest.raises(EngineDead):
        apart.load(policy(tmp_path))


def test_what_is_no_interpreter_of_ours(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="cannot be started"):
        ApartSampler({**config, "python": str(tmp_path / "nothing")}, {}).load(policy(tmp_path))
    with pytest.raises(EngineDead, match="ended with exit code"):
        ApartSampler({**config, "python": "/bin/false"}, {}).load(policy(tmp_path))


def test_nouns_survive_the_way() -> None:
    asked = SampleRequest("k", "p", (Message("user", "?"),), (0, 1), (5, 6), "view", "pre", "up", ((1, 2), ()))
    assert request_of(json.loads(json.dumps(asdict(asked)))) == asked
    turns = (Turn("thinking", 0, 2, False, 4),)
    sample = Sample("i", "p", 0, "", "?", (1, 2), "a", (3,), "stop", 9, "d", "", None, turns, -0.5, 2)
    assert sample_of(json.loads(json.dumps(asdict(sample)))) == sample
    params = SamplingParams(0.5, stop=("x",), extra={"min_p": 0.1})
    assert params_of(json.loads(json.dumps(asdict(params)))) == params
