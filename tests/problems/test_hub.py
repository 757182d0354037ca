"""Rows from the hub's library, without a network. Run: pytest tests/problems/test_hub.py"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.data import load
from selfimprove.errors import ConfigError, PreconditionError

ROWS = [{"question": f"{n}+{n}?", "answer": f"{n} and {n}\n#### {2 * n}", "label": n} for n in range(5)]
COLUMNS = {"prompt": "question", "answer_pattern": "#### (.*)"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "set/test.jsonl").write_text(json.dumps(ROWS[0]))
    return tmp_path / "set"


def test_a_directory_is_read_as_the_hub_would_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder.parent / "cache"))
    problems = load("hub", {"name": str(folder), "split": "train"}, COLUMNS)
    assert [problem.answer for problem in problems] == ["0", "2", "4", "6", "8"]
    assert problems[3].meta == {"label": 3}
    assert len(load("hub", {"name": str(folder), "split": "test"}, COLUMNS)) == 1
    assert len(load("hub", {"name": str(folder), "limit": 2}, COLUMNS)) == 2


def test_a_split_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown split"):
        load("hub", {"name": str(folder), "split": "validation"}, COLUMNS)


def test_no_network_is_a_missing_thing_with_a_fix(tmp_path: Path) -> None:
    """In a process of its own: the library reads HF_HUB_OFFLINE when it is imported."""
    code = (
        "from selfimprove.data import load\nfrom selfimprove.errors import PreconditionError\n"
        "try:\n    load('hub', {'name': 'openai/gsm8k', 'config': 'main', 'revision': '0' * 40})\n"
        "except PreconditionError as error:\n    print(error.exit_code, error, error.hint)\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.startswith("5 data set 'openai/gsm8k' cannot be loaded"), done.stderr[-2000:]
    assert "set HF_HOME to that cache" in done.stdout


def test_the_library_is_needed_by_name() -> None:
    with pytest.raises((ConfigError, PreconditionError), match="name"):
        load("hub", {})
