"""Each method runs two rounds with real vLLM, TRL and Ray on the tiny task.

Run: pytest tests/e2e/test_methods.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.project import command, status, write

RECIPES = {
    "rest_em": {"name": "rest_em", "samples": 4, "temperature": 1.0, "args": {"max_steps": 30}},
    "star": {"name": "star", "start": "base", "temperature": 0.5, "steps": 20},
    "rft": {"name": "rft", "samples": 4, "temperature": 1.0, "args": {"max_steps": 30}},
    "spin": {"name": "spin", "args": {"max_steps": 10, "learning_rate": 1e-5}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_rounds(tmp_path: Path, name: str) -> None:
    config = write(tmp_path, RECIPES[name])
    done = command("run", config, "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    found = status(tmp_path / "run")
    assert found["state"] == "finished" and [row["index"] for row in found["rounds"]] == [1, 2]
    for row in found["rounds"]:
        assert row["sampled"] > 0 and row["trained"] > 0 and row["steps"] > 0
        assert row["accuracy"]["n"] == 60
    assert found["report"]["difference"]["n"] == 60
    print(f"{name}: {found['report']['difference']}")
