"""Models and data sets by hub id: from a hub on this machine, then from the cache alone; what is missing says the fix.

Run: pytest tests/e2e/test_hub.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfimprove.testing import tiny_llama
from tests.e2e.project import SMALL, command, write
from tests.hub import SHA, Hub

RECIPE = {"name": "rest_em", "samples": 2, "start": "initial", "args": {"max_steps": 2}}
DATA = {"name": "lab/sums", "revision": SHA}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub"
    data = folder / "datasets" / "lab" / "sums"
    data.mkdir(parents=True)
    rows = [{"question": f"{a}+{b}=", "answer": f"so it is\n#### {a + b}"} for a in range(6) for b in range(6)]
    (data / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "models" / "lab").mkdir(parents=True)
    shape = {"hidden_size": 64, "layers": 1, "heads": 2, "max_position_embeddings": 32}
    tiny_llama(str(folder / "models" / "lab" / "tiny"), **shape)
    made = Hub(folder)
    yield made
    made.stop()


def project(folder: Path, data: dict[str, Any] | None = None, model: str = "lab/tiny") -> Path:
    return write(
        folder,
        RECIPE,
        warmup=None,
        model=model,
        data={
            "problems": {"source": "hub", "args": data or DATA},
            "columns": {"prompt": "question", "answer_pattern": "#### (.*)"},
            "gate": 4,
            "report": 4,
        },
        rounds=1,
        verifier={"name": "none", "workers": 1},
        sampling=SMALL["sampling"],
    )


def environment(hub: Hub | None, home: Path) -> dict[str, str]:
    found = {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0" if hub else "1"}
    return {**found, **({"HF_ENDPOINT": hub.url} if hub else {})}


@pytest.mark.slow
def test_fetched_once_then_from_the_cache_alone(hub: Hub, tmp_path: Path) -> None:
    """A run with the hub, and the same run in another directory without any network."""
    config, home = project(tmp_path), tmp_path / "home"
    done = command("run", config, "--run-dir", tmp_path / "one", cwd=tmp_path, **environment(hub, home))
    assert done.returncode in (0, 3), done.stderr[-3000:]
    assert any(path.startswith("lab/tiny/resolve/") for path in hub.asked)
    marker = json.loads((tmp_path / "one/setup/model/COMMITTED.json").read_text())
    assert marker["inputs"]["revision"] == SHA, "what was fetched is recorded"
    asked = len(hub.asked)
    again = command("run", config, "--run-dir", tmp_path / "two", cwd=tmp_path, **environment(None, home))
    assert again.returncode in (0, 3), again.stderr[-3000:]
    assert len(hub.asked) == asked
    one, two = (json.loads((tmp_path / name / "setup/problems/COMMITTED.json").read_text()) for name in ("one", "two"))
    assert one["digest"] == two["digest"] and one["counts"] == {"train": 28, "gate": 4, "report": 4}


def test_no_network_and_no_cache(tmp_path: Path) -> None:
    done = command(
        "run", project(tmp_path), "--run-dir", tmp_path / "run", cwd=tmp_path, **environment(None, tmp_path / "h")
    )
    assert done.returncode == 5, done.stderr
    assert "lab/tiny is not in the local cache" in done.stderr or "'lab/sums' cannot be loaded" in done.stderr
    assert "hint:" in done.stderr and not (tmp_path / "run" / "rounds").exists()


@pytest.mark.slow
def test_a_gated_model_and_one_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    hub.gated = {"lab/tiny"}
    told = environment(hub, tmp_path / "home")
    done = command("run", project(tmp_path), "--run-dir", tmp_path / "run", cwd=tmp_path, **told)
    assert done.returncode == 5 and "HF_TOKEN" in done.stderr, done.stderr
    gone = command("run", project(tmp_path, model="lab/gone"), "--run-dir", tmp_path / "b", cwd=tmp_path, **told)
    assert gone.returncode == 5 and "lab/gone" in gone.stderr and "hint:" in gone.stderr


def test_a_gated_data_set(hub: Hub, tmp_path: Path) -> None:
    hub.gated = {"lab/sums"}
    done = command(
        "run", project(tmp_path), "--run-dir", tmp_path / "a", cwd=tmp_path, **environment(hub, tmp_path / "h")
    )
    assert done.returncode == 5 and "'lab/sums' cannot be loaded" in done.stderr, done.stderr
    assert "HF_TOKEN" in done.stderr


def test_rows_that_may_change_are_refused(hub: Hub, tmp_path: Path) -> None:
    """A branch is no revision: the refusal names the commit that it is at."""
    for revision in ({}, {"revision": "main"}):
        config = project(tmp_path, {"name": "lab/sums", **revision})
        done = command("run", config, "--run-dir", tmp_path / "a", cwd=tmp_path, **environment(hub, tmp_path / "home"))
        assert done.returncode == 2, done.stderr
        assert f"revision: {SHA}" in done.stderr
