"""A project small enough for real engines in a test: the quickstart's model and problems, fewer of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SMALL = {
    "data": {
        "problems": {"source": "arithmetic", "args": {"n": 180, "maximum": 9}},
        "demonstrations": {"source": "arithmetic", "args": {"n": 100, "maximum": 9, "seed": 1}},
        "gate": 60,
        "report": 60,
    },
    "model": {
        "build": "selfimprove.testing:tiny_llama",
        "args": {"hidden_size": 64, "layers": 2, "heads": 2, "max_position_embeddings": 32},
    },
    "warmup": {"name": "sft", "start": "initial", "args": {"max_steps": 150, "learning_rate": 3e-3}},
    "verifier": {"name": "answer_match", "workers": 1},
    "rounds": 2,
    "sampling": {"max_tokens": 4, "part_samples": 128, "engine": {"max_model_len": 32}},
    "training": {"threads": 1, "args": {"per_device_train_batch_size": 32}},
}


def write(folder: Path, recipe: dict[str, Any], **changes: Any) -> Path:
    """The configuration as JSON, which is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(json.dumps({**SMALL, "recipe": recipe, **changes}))
    return path


def command(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``selfimprove WORDS`` as a person types it."""
    program = [sys.executable, "-m", "selfimprove", *map(str, words)]
    settings = {**os.environ, **environment}
    return subprocess.run(program, cwd=cwd, env=settings, capture_output=True, text=True, timeout=500, check=False)


def status(run: Path) -> dict[str, Any]:
    """The data of ``selfimprove status --json``."""
    return dict(json.loads(command("status", run, "--json", cwd=run.parent).stdout)["data"])
