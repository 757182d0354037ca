"""Which engines run, with which options, and what they serve. Run: pytest tests/cluster/test_engines.py"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from selfimprove import workers
from selfimprove.cluster.inline import InlineBackend
from selfimprove.config import InvalidConfig, RunConfig, load_config
from selfimprove.types import Policy
from selfimprove.workers import Workers


class Stub:
    """A sampler that notes what became of it."""

    story: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        self.story.append(("built", config["engine"]))

    def load(self, policy: Policy, *, canary: Any = None) -> dict[str, Any]:
        self.story.append(("serves", policy.digest))
        return {}

    def close(self) -> None:
        self.story.append(("ended", None))


def config(folder: Path, **changes: Any) -> RunConfig:
    (folder / "problems.jsonl").write_text("\n".join(json.dumps({"prompt": f"{i}?", "answer": "1"}) for i in range(30)))
    told = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"problems": "problems.jsonl", "gate": 5, "report": 5},
        "recipe": "rest_em",
        "verifier": "answer_match",
        "cluster": {"backend": "inline"},
        **changes,
    }
    (folder / "config.yaml").write_text(json.dumps(told))
    return load_config([folder / "config.yaml"])


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    monkeypatch.setitem(workers.SAMPLERS, "vllm", "tests.cluster.test_engines:Stub")
    Stub.story.clear()
    return Stub.story


def test_evaluations_with_options_of_their_own_have_engines_of_their_own(
    tmp_path: Path, story: list[tuple[str, Any]]
) -> None:
    told = config(tmp_path, sampling={"engine": {"quantization": "fp8"}}, evaluation={"engine": {"max_num_seqs": 8}})
    made = Workers(told, InlineBackend())
    one, two = Policy("a", "1"), Policy("b", "2")
    made.load(one)
    made.load(two, told.evaluation.engine)
    made.preload(one)
    made.load(two, told.evaluation.engine)
    made.load(two)
    made.close()
    sampling, evaluating = {"quantization": "fp8"}, {"max_num_seqs": 8}
    first = [("built", sampling), ("serves", "1"), ("ended", None), ("built", evaluating), ("serves", "2")]
    assert story == [*first, ("ended", None), ("built", sampling), ("serves", "2"), ("ended", None)]


def test_one_set_of_engines_serves_one_policy_after_the_other(tmp_path: Path, story: list[tuple[str, Any]]) -> None:
    made = Workers(config(tmp_path), InlineBackend())
    for policy in (Policy("a", "1"), Policy("a", "1"), Policy("b", "2")):
        made.load(policy)
    assert story == [("built", {}), ("serves", "1"), ("serves", "2")]
    made.close()


def test_what_ships_is_what_is_judged(tmp_path: Path) -> None:
    rounded = {"sampling": {"engine": {"quantization": "fp8"}}}
    with pytest.raises(InvalidConfig, match=r"'sampling\.engine\.quantization' samples from other weights"):
        config(tmp_path, **rounded)
    assert config(tmp_path, **rounded, evaluation={"engine": {}}).evaluation.engine == {}
    none = {"problems": "problems.jsonl", "gate": 0, "report": 0}
    assert config(tmp_path, **rounded, data=none).sampling.engine == {"quantization": "fp8"}
