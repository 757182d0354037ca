"""A vLLM server in another process: as the policy, whose adapters reach it through its API, and as the judge.

Run: pytest tests/e2e/test_server.py
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples
from selfimprove.store.runs import committed
from selfimprove.store.steps import Step, read_parts
from selfimprove.testing import tiny_llama
from tests.e2e.project import SMALL, command, write

RECIPE = {"name": "rest_em", "samples": 2, "temperature": 1.0, "start": "previous", "args": {"max_steps": 8}}
CONTEXT = 800
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("served") / "model")
    return tiny_llama(folder, hidden_size=64, layers=2, heads=2, max_position_embeddings=CONTEXT, chat_template=True)


@contextmanager
def serving(model: str, log: Path, *more: str) -> Iterator[str]:
    """A vLLM server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--model", model, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--enforce-eager", "--block-size", "32", "--no-enable-chunked-prefill", "--dtype", "float32"]
    words += ["--kv-cache-memory-bytes", "100000000", *more]
    environment = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",
        "TORCHDYNAMO_DISABLE": "1",
        "OMP_NUM_THREADS": "1",
    }
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
    with log.open("w") as words_of_it:
        process = subprocess.Popen(
            program, env={**os.environ, **environment}, stdout=words_of_it, stderr=subprocess.STDOUT
        )
    until = time.monotonic() + 180
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/version", timeout=5)
            break
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the server did not start: {log.read_text()[-3000:]}")
            time.sleep(0.5)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


def samples(files: RunFiles, step: str) -> list[str]:
    """The digests of the policies that drew a step's samples."""
    found = []
    for marker in read_parts(files, f"{step}/samples").values():
        found += [sample.policy for sample in read_samples(Step(files, f"{step}/samples", {}, None), marker)]
    return found


def test_two_rounds_of_adapters_through_its_api(model: str, tmp_path: Path) -> None:
    """Round 2 is sampled from round 1's adapter, which the server has passed the canary with."""
    with serving(model, tmp_path / "log", "--enable-lora", "--max-lora-rank", "16") as url:
        two_rounds(url, model, tmp_path)


def two_rounds(url: str, model: str, tmp_path: Path) -> None:
    lora = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    changes = {
        "model": model,
        "warmup": None,
        "data": {"problems": SMALL["data"]["problems"], "gate": 20, "report": 20},
        "sampling": {"type": "endpoint", "endpoint": {"url": url}, "max_tokens": 4, "canary_tolerance": 0.01},
        "training": {**SMALL["training"], "lora": lora, "adapter": "continue", "dtype": "float32"},
        "verifier": {"name": "none", "workers": 1},
    }
    done = command("run", write(tmp_path, RECIPE, **changes), "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    files = RunFiles(tmp_path / "run")
    trained = {key: marker for key, marker in committed(files) if key.endswith("train/policy")}
    assert len(trained) == 2 and all(marker.data["adapter"] for marker in trained.values())
    first = trained["rounds/001/train/policy"].digest
    assert set(samples(files, "rounds/002/attempt")) == {first}
    assert httpx.get(f"{url}/models").json()["data"][0]["id"] == "tiny"


def test_it_judges_what_a_local_engine_samples(model: str, tmp_path: Path) -> None:
    """By the weights of its words (which vLLM's server gives), every sample has a score.

    The server takes no adapters here: on a CPU, vLLM 0.32 with --enable-lora dies of two such requests at once.
    """
    with serving(model, tmp_path / "log") as url:
        judged(url, tmp_path)


def judged(url: str, tmp_path: Path) -> None:
    judge = {"mode": "likelihood", "role": "user", "threshold": 0.4}
    warmup = {**SMALL["warmup"], "args": {"max_steps": 30, "learning_rate": 3e-3}}
    changes = {
        "warmup": warmup,
        "data": {**SMALL["data"], "problems": {"source": "arithmetic", "args": {"n": 40, "maximum": 9}}}
        | {"gate": 0, "report": 8},
        "rounds": 1,
        "verifier": {"name": "self_critique", "args": judge, "policy": f"{url}#tiny"},
    }
    done = command("run", write(tmp_path, RECIPE, **changes), "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode in (0, 3, 9), done.stderr[-3000:]
    step = [key for key, _ in committed(RunFiles(tmp_path / "run")) if "/verdicts-" in key and "attempt" in key]
    marker = dict(committed(RunFiles(tmp_path / "run")))[step[0]]
    assert marker.counts["errors"] == 0 and marker.counts["passed"] + marker.counts["failed"] >= 40
