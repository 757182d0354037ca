"""The real engine and trainer under Ray: killed, resumed, repeated, changed, grown. Run: pytest tests/e2e"""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.store.runs import digests
from tests.e2e.project import command, status, write

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
