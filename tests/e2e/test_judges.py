"""Verifiers that ask a model, through real vLLM: what it weighs is what transformers weighs.

Run: pytest tests/e2e/test_judges.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples, read_verdicts
from selfimprove.store.runs import committed
from selfimprove.store.steps import Step, read_parts
from selfimprove.types import Sample, Verdict
from tests.e2e.project import SMALL, command, write

CONTEXT = 1500
RECIPE = {"name": "rest_em", "samples": 2, "temperature": 1.0, "start": "previous", "args": {"max_steps": 2}}
MODEL = {**SMALL["model"], "args": {**SMALL["model"]["args"], "max_position_embeddings": CONTEXT}}
DATA = {
    "problems": {"source": "arithmetic", "args": {"n": 40, "maximum": 9}},
    "demonstrations": SMALL["data"]["demonstrations"],
    "gate": 0,
    "report": 8,
}
SAMPLING = {**SMALL["sampling"], "engine": {"max_model_len": CONTEXT, "max_num_batched_tokens": 4096}}


def run(folder: Path, verifier: dict[str, Any]) -> RunFiles:
    warmup = {**SMALL["warmup"], "args": {"max_steps": 60, "learning_rate": 3e-3}}
    changes = {"warmup": warmup, "model": MODEL, "data": DATA, "sampling": SAMPLING, "rounds": 1, "verifier": verifier}
    done = command("run", write(folder, RECIPE, **changes), "--run-dir", folder / "run", cwd=folder)
    assert done.returncode in (0, 3, 9), done.stderr[-3000:]
    return RunFiles(folder / "run")


def judged(files: RunFiles, leaf: str) -> list[tuple[Sample, Verdict]]:
    """Samples of the first round with the verdicts of one step."""
    attempt = "rounds/001/attempt"
    samples, verdicts = [], []
    for marker in dict(sorted(read_parts(files, f"{attempt}/samples").items())).values():
        samples += read_samples(Step(files, f"{attempt}/samples", {}, None), marker)
    (step,) = {key for key, _ in committed(files) if key.startswith(f"{attempt}/{leaf}") and key.count("/") == 3}
    for marker in dict(sorted(read_parts(files, step).items())).values():
        verdicts += read_verdicts(Step(files, step, {}, None), marker)
    return list(zip(samples, verdicts, strict=True))


def model_of(files: RunFiles) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    step = "rounds/000/train/policy"
    (marker,) = [marker for key, marker in committed(files) if key == step]
    return AutoModelForCausalLM.from_pretrained(files.local(step) / marker.data["source"], dtype=torch.float32)


@pytest.mark.slow
def test_likelihoods_are_those_of_transformers(tmp_path: Path) -> None:
    import torch

    files = run(tmp_path, {"name": "likelihood", "args": {"per": "sequence", "keep": 1}})
    found = judged(files, "verdicts-")
    assert len(found) >= 40 and sum(verdict.passed for _, verdict in found) <= len(found) / 2
    model = model_of(files)
    ended = [(sample, verdict) for sample, verdict in found if sample.finish == "stop" and sample.completion]
    assert len(ended) >= 20
    for sample, verdict in ended:
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids[:-1]]])  # the end token is not of the text
        with torch.inference_mode():
            told = model(ids).logits[0].log_softmax(-1)
        start = len(sample.prompt_ids)
        wanted = sum(float(told[at - 1, ids[0, at]]) for at in range(start, ids.shape[1]))
        assert verdict.score == pytest.approx(wanted, abs=0.05)


@pytest.mark.slow
def test_a_policy_criticises_itself(tmp_path: Path) -> None:
    """By the weight of its words every sample gets a score; by what it writes a random model says nothing readable."""
    words = {"name": "self_critique", "args": {"mode": "likelihood", "role": "text", "threshold": 0.4}}
    files = run(tmp_path / "words", words)
    scores = [verdict.score for sample, verdict in judged(files, "verdicts-") if verdict.outcome != "error"]
    assert len(scores) >= 40 and all(0 <= score <= 1 for score in scores) and len(set(scores)) > 5
    said = {"name": "self_critique", "args": {"mode": "binary", "role": "text", "max_tokens": 4}, "max_error_share": 1}
    found = judged(run(tmp_path / "said", said), "verdicts-")
    assert {verdict.error for _, verdict in found if verdict.outcome == "error"} == {"unparsable"}
