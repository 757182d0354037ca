"""The scripted double, as an engine would be used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.sampling import PUMP_SAMPLES, Sampler
from selfimprove.sampling.scripted import ScriptedSampler
from selfimprove.types import Message, Policy, SampleRequest, SamplingParams

SCRIPT = Path(__file__).parent / "script.py"
PARAMS = SamplingParams()


def sampler(function: str) -> ScriptedSampler:
    built: Sampler = ScriptedSampler({"script": f"{SCRIPT}:{function}"}, {})
    built.load(Policy("", "p1"))
    assert isinstance(built, ScriptedSampler)
    return built


def request(key: str, n: int) -> SampleRequest:
    indexes = tuple(range(n))
    return SampleRequest(key, "id", (Message("user", "2+2?"),), indexes, tuple(i * 10 for i in indexes), "hint", "So")


def test_the_script_sees_messages_index_seed_and_policy() -> None:
    engine = sampler("telling")
    samples, flying = engine.pump([request("r/0/a", 2)], PARAMS)
    assert flying == 0
    assert [sample.id for sample in samples] == ["r/0/a/0", "r/0/a/1"]
    assert [sample.completion for sample in samples] == ["2+2?|0|0|p1", "2+2?|1|10|p1"]
    assert [sample.finish for sample in samples] == ["stop", "length"]
    first = samples[0]
    assert "".join(map(chr, first.token_ids)) == first.completion
    assert (first.prompt, first.prefix, first.view, first.policy) == ("2+2?So", "So", "hint", "p1")
    engine.load(Policy("", "p2"))
    assert engine.pump([request("r/1/a", 1)], PARAMS)[0][0].completion.endswith("|p2")


def test_a_full_pump_returns_and_keeps_the_rest() -> None:
    engine, requests = sampler("constant"), PUMP_SAMPLES // 8
    samples, flying = engine.pump([request(f"r{i}", 8) for i in range(requests + 20)], PARAMS)
    assert (len(samples), flying) == (PUMP_SAMPLES, 160)
    while flying:
        more, flying = engine.pump([], PARAMS)
        samples += more
    assert len({sample.id for sample in samples}) == PUMP_SAMPLES + 160


def test_a_slow_script_returns_after_its_time() -> None:
    engine = sampler("slow")
    samples, flying = engine.pump([request(f"r{i}", 1) for i in range(200)], PARAMS)
    assert 0 < len(samples) < 200
    assert len(samples) + flying == 200


def test_abort_and_load_drop_what_is_waiting() -> None:
    engine = sampler("slow")
    engine.pump([request(f"r{i}", 1) for i in range(30)], PARAMS)
    engine.abort()
    assert engine.pump([], PARAMS) == ([], 0)
    engine.pump([request(f"r{i}", 1) for i in range(30)], PARAMS)
    engine.load(Policy("", "p2"))
    assert engine.pump([], PARAMS) == ([], 0)


def test_score_and_close() -> None:
    engine = sampler("constant")
    assert engine.score([((1, 2), (3, 4, 5))]) == [[0.0, 0.0, 0.0]]
    engine.close()


def test_a_missing_script_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"sampling\.script"):
        ScriptedSampler({"script": None}, {})
    with pytest.raises(ConfigError, match="nothing_here"):
        ScriptedSampler({"script": f"{SCRIPT}:nothing_here"}, {})


def test_nothing_heavy_is_imported() -> None:
    code = (
        f"import sys; from selfimprove.sampling.scripted import ScriptedSampler;"
        f"ScriptedSampler({{'script': {str(SCRIPT) + ':constant'!r}}});"
        "assert not {'torch', 'vllm', 'transformers', 'ray', 'pyarrow', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
