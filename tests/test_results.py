"""What earlier rounds left is read by later releases. Run: pytest tests/test_results.py"""

from __future__ import annotations

from pathlib import Path

from selfimprove.results import restored, stored
from selfimprove.store.files import RunFiles
from selfimprove.types import Policy


def test_a_policy_comes_back_wherever_its_run_lies(tmp_path: Path) -> None:
    here, there = RunFiles(tmp_path / "here"), RunFiles(tmp_path / "there")
    policy = Policy(str(here.root / "rounds/001/m"), "d", "p", str(here.root / "rounds/001/a"))
    assert restored(here, stored(here, policy)) == policy
    assert restored(there, stored(here, policy)).source == str(there.root / "rounds/001/m")


def test_what_an_earlier_release_said_besides_is_no_obstacle(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    told = {"source": "m", "digest": "d", "parent": None, "adapter": None, "precision": ""}
    assert restored(files, told) == Policy(str(tmp_path / "m"), "d")
