"""The real engine and trainer under Ray: killed, resumed, repeated, changed, grown. Run: pytest tests/e2e"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfimprove.store.runs import digests
from tests.e2e.project import SMALL, command, status, write

RECIPE = {"name": "rest_em", "samples": 4, "temperature": 1.0, "carry": "accumulate", "args": {"max_steps": 20}}
KILLS = ("samples.received:2", "round.committed:1", "train.after:1", "samples.received:1")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    done = command("run", write(folder, RECIPE), "--run-dir", folder / "run", cwd=folder)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_killed_four_times_it_ends_with_the_digests_of_an_unbroken_run(tmp_path: Path, unbroken: Path) -> None:
    config = write(tmp_path, RECIPE)
    words = ("run", config, "--run-dir", tmp_path / "run", "--progress", "none")
    for point in KILLS:
        killed = command(*words, cwd=tmp_path, SELFIMPROVE_FAILPOINT=f"{point}:kill")
        assert killed.returncode == -9, f"{point} was not passed: {killed.stderr[-2000:]}"
    done = command(*words, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    assert dict(digests(tmp_path / "run")) == dict(digests(unbroken / "run"))


@pytest.mark.slow
def test_the_same_command_does_nothing_a_change_is_refused_and_more_rounds_go_on(unbroken: Path) -> None:
    words = ("run", unbroken / "config.yaml", "--run-dir", unbroken / "run")
    before = dict(digests(unbroken / "run"))
    again = command(*words, cwd=unbroken)
    assert again.returncode in (0, 3) and "nothing to do" in again.stdout + again.stderr
    assert dict(digests(unbroken / "run")) == before
    refused = command(*words, "recipe.temperature=0.7", cwd=unbroken)
    assert refused.returncode == 2
    assert "recipe.temperature: 1.0 -> 0.7" in refused.stderr
    grown = command(*words, "rounds=3", cwd=unbroken)
    assert grown.returncode in (0, 3), grown.stderr[-3000:]
    assert [row["index"] for row in status(unbroken / "run")["rounds"]] == [1, 2, 3]
    assert before.items() <= dict(digests(unbroken / "run")).items(), "finished rounds were touched"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_a_training_goes_on_where_it_was(tmp_path: Path, unbroken: Path, number: signal.Signals, code: int) -> None:
    """Killed between two checkpoints, or asked to stop in mid-training: the same digests as unbroken."""
    often = {**SMALL["training"], "save_every_minutes": 0.01}
    config = write(tmp_path, RECIPE, training=often)
    words = ("run", config, "--run-dir", tmp_path / "run", "--progress", "none")
    program = [sys.executable, "-m", "selfimprove", *map(str, words)]
    log = (tmp_path / "stderr").open("w")
    process = subprocess.Popen(program, cwd=tmp_path, env=dict(os.environ), stderr=log)
    until = time.monotonic() + 120
    while not list((tmp_path / "run").rglob("checkpoint-*/SEAL.json")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=60) == code, (tmp_path / "stderr").read_text()
    left = [path.parent.name for path in (tmp_path / "run").rglob("checkpoint-*/SEAL.json")]
    assert left and "checkpoint-150" not in left
    done = command(*words, cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    found = dict(digests(tmp_path / "run"))
    assert found.items() <= dict(digests(unbroken / "run")).items()  # which another test may have grown by a round
    assert "rounds/002" in " ".join(found) and not list((tmp_path / "run").rglob("checkpoints"))
