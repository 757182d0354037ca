"""Long samples: 32k-token rows from sample to report, and a killed 8k-token sample that goes on where it was.

Run: pytest tests/e2e/test_long.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples
from selfimprove.store.runs import committed
from selfimprove.store.steps import Step, read_parts
from selfimprove.types import Sample
from tests.e2e.project import SMALL, command, status, write

pytestmark = pytest.mark.slow
RECIPE = {"name": "rest_em", "samples": 1, "temperature": 1.0, "start": "initial", "args": {"max_steps": 1}}


def project(folder: Path, tokens: int, context: int, **sampling: Any) -> Path:
    """One problem, one sample of ``tokens`` tokens, which does not end before."""
    shape = {"hidden_size": 64, "layers": 1, "heads": 2, "max_position_embeddings": context}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one.jsonl").write_text(json.dumps({"prompt": "2+2=", "answer": "4"}) + "\n")
    return write(
        folder,
        RECIPE,
        warmup=None,
        model={**SMALL["model"], "args": shape},
        data={"problems": "one.jsonl", "gate": 0, "report": 0},
        rounds=1,
        verifier={"name": "none", "workers": 1},
        sampling={
            "max_tokens": tokens,
            "engine": {"max_model_len": context, "max_num_batched_tokens": context, "max_num_seqs": 1},
            **sampling,
        },
        training={"threads": 2, "args": {"per_device_train_batch_size": 1}},
    )


def samples(run: Path) -> list[Sample]:
    files, found = RunFiles(run), []
    for marker in read_parts(files, "rounds/001/attempt/samples").values():
        found += read_samples(Step(files, "rounds/001/attempt/samples", {}, None), marker)
    return found


def test_a_killed_sample_goes_on_where_it_was(tmp_path: Path) -> None:
    config = project(tmp_path, 8000, 8192, keep_tokens_every=100, params={"ignore_eos": True})
    run = tmp_path / "run"
    words = ("run", config, "--run-dir", run, "--progress", "none")
    program = [sys.executable, "-m", "selfimprove", *map(str, words)]
    process = subprocess.Popen(program, cwd=tmp_path, env=dict(os.environ), stderr=subprocess.PIPE)
    kept = run / "rounds/001/attempt/samples/begun.json"
    until = time.monotonic() + 240
    while not (kept.exists() and min(map(len, json.loads(kept.read_text())["ids"].values())) >= 1000):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = json.loads(kept.read_text())["ids"]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 9, done.stderr[-3000:]  # none of them ended, so there is nothing to train on
    found = samples(run)
    assert len(found) == 1 and not kept.exists()
    for sample in found:
        assert sample.resumed_at == len(begun[sample.id]) >= 1000
        assert list(sample.token_ids[: sample.resumed_at]) == begun[sample.id]
        assert len(sample.token_ids) == 8000 and sample.finish == "length"


def test_rows_of_32k_tokens_from_sample_to_report(tmp_path: Path) -> None:
    """Sampled to their end, judged, trained on, served, reported; nothing is cut on the way."""
    tokens = 32_700
    params = {"ignore_eos": True, "stop_token_ids": list(range(50, 100)), "min_tokens": tokens - 40}
    config = project(tmp_path, tokens, 32_768, params=params)
    done = command("run", config, "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    found = samples(tmp_path / "run")
    assert {sample.finish for sample in found} == {"stop"} and len(found) == 1
    assert min(len(sample.token_ids) for sample in found) >= tokens - 40
    step = next(marker for key, marker in committed(RunFiles(tmp_path / "run")) if key.endswith("train/policy"))
    assert step.counts["rows"] == 1 and not step.data["dropped"]
    assert step.data["metrics"]["trained_tokens"] >= tokens - 40
    assert status(tmp_path / "run")["state"] == "finished"
    shown = command("show", tmp_path / "run", "rounds/001/attempt", cwd=tmp_path).stdout
    assert f"[pass, trained on]  {len(found[0].token_ids)} tokens, stop" in shown
