"""LoRA across rounds, chat prompts, two engines, two processes that share a training: the same loop.

Run: pytest tests/e2e/test_variants.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples
from selfimprove.store.runs import committed, digests
from selfimprove.store.steps import Step, read_parts
from selfimprove.store.tables import read_examples
from tests.e2e.project import SMALL, command, status, write

RECIPE = {"name": "rest_em", "samples": 4, "temperature": 1.0, "start": "previous", "args": {"max_steps": 15}}


def finished(folder: Path, **changes: Any) -> Path:
    """A run to its end; its directory."""
    done = command("run", write(folder, RECIPE, **changes), "--run-dir", folder / "run", cwd=folder)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    assert status(folder / "run")["state"] == "finished"
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["continue", "merge"])
def test_lora_rounds_are_served_as_they_were_trained(tmp_path: Path, adapter: str) -> None:
    """Every load of a trained policy passes the canary, or the run would end with exit code 4."""
    lora = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    training = {**SMALL["training"], "lora": lora, "adapter": adapter}
    warmup = {"name": "sft", "start": "initial", "args": {"max_steps": 150, "learning_rate": 1e-2}}
    # A random model learns little through an adapter: what its answers are worth is not the point here.
    run = finished(tmp_path, training=training, warmup=warmup, verifier={"name": "none", "workers": 1})
    policies = [m.data for key, m in committed(RunFiles(run)) if key.endswith("train/policy")]
    assert len(policies) == 3 and all(data["adapter"] for data in policies)


@pytest.mark.slow
def test_chat_prompts_train_on_the_ids_that_were_sampled(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    rows = [
        {"prompt": [{"role": "user", "content": f"{a}+{b}="}], "answer": str(a + b), "completion": str(a + b)}
        for a in range(10)
        for b in range(10)
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    model = {**SMALL["model"], "args": {**SMALL["model"]["args"], "chat_template": True}}
    run = finished(tmp_path, model=model, data={"problems": "chat.jsonl", "gate": 30, "report": 30})
    files = RunFiles(run)
    sampled = {}
    for number, marker in read_parts(files, "rounds/001/attempt/samples").items():
        assert number == 0 or marker
        for sample in read_samples(Step(files, "rounds/001/attempt/samples", {}, None), marker):
            sampled[sample.id] = sample
    step = Step(files, "rounds/001/train/examples", {}, None)
    marker = dict(committed(files))["rounds/001/train/examples"]
    trained = list(read_examples(step.path(marker.outputs[0])))
    assert trained, "nothing was right: the warm-up is too short for this test"
    for row in trained:
        own = sampled[row.source[0]]
        assert list(row.prompt_ids) == list(own.prompt_ids) and list(row.completion_ids) == list(own.token_ids)
        assert row.prompt[0].role == "user" and own.prompt != row.prompt[0].content


@pytest.mark.slow
def test_two_engines_give_what_one_gives(tmp_path: Path) -> None:
    one = finished(tmp_path / "one")
    two = finished(tmp_path / "two", sampling={**SMALL["sampling"], "engines": 2})
    assert dict(digests(two)) == dict(digests(one))


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp2"])
def test_what_two_processes_trained_is_served(tmp_path: Path, launch: str) -> None:
    """Served in vLLM with the canary in tolerance, or the run would end with exit code 4."""
    training = {"launch": launch, "processes": 2, "batch_size": 32, "args": {"per_device_train_batch_size": 16}}
    run = finished(tmp_path, training=training, rounds=1)
    for _, marker in [pair for pair in committed(RunFiles(run)) if pair[0].endswith("train/policy")]:
        assert marker.data["metrics"]["processes"] == 2 and marker.data["metrics"]["rows_per_step"] == 32
    assert status(run)["rounds"][-1]["passed"] > 60, "nothing was learnt in the warm-up"


@pytest.mark.slow
def test_two_environments_give_what_one_gives(tmp_path: Path) -> None:
    """Sampler and trainer under interpreters of their own, to which only paths, ids and texts cross."""
    one = finished(tmp_path / "one", rounds=1)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    sampling = {**SMALL["sampling"], "python": str(python)}
    apart = finished(
        tmp_path / "apart", rounds=1, sampling=sampling, training={**SMALL["training"], "python": str(python)}
    )
    asked = (tmp_path / "asked").read_text()
    assert "selfimprove.sampling.host" in asked and "selfimprove.training.rank" in asked
    assert dict(digests(apart)) == dict(digests(one))
