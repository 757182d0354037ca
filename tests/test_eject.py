"""A round as plain scripts draws the same tokens and trains on the same rows. Run: pytest tests/test_eject.py"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.eject import eject
from selfimprove.errors import ConfigError
from selfimprove.store.files import RunFiles
from selfimprove.store.tables import read_examples
from tests.e2e.project import command, write

RECIPE = {"name": "rest_em", "samples": 4, "temperature": 1.0, "args": {"max_steps": 4}}


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_an_ejected_round_is_the_round(tmp_path: Path) -> None:
    done = command("run", write(tmp_path, RECIPE, rounds=1), "--run-dir", tmp_path / "run", cwd=tmp_path)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    out = tmp_path / "out"
    found = eject(tmp_path / "run", 1, out)
    (file,) = RunFiles(tmp_path / "run").local("rounds/001/train/examples").glob("a-*/*.parquet")
    rows = lines(out / "rows.jsonl")
    wanted = [(list(row.prompt_ids), list(row.completion_ids)) for row in read_examples(file)]
    assert [(row["prompt_ids"], row["completion_ids"]) for row in rows] == wanted and found["rows"] == len(wanted)
    for script in ("sample.py", "train.py"):
        assert "selfimprove" not in (out / script).read_text()
        ran = subprocess.run(
            [sys.executable, script], cwd=out, capture_output=True, text=True, timeout=400, check=False
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
    before = {row["id"]: row["token_ids"] for row in lines(out / "samples.jsonl")}
    assert {row["id"]: row["token_ids"] for row in lines(out / "again.jsonl")} == before
    assert len(before) == found["samples"] == 4 * 60 and (out / "trained/model.safetensors").exists()
    with pytest.raises(ConfigError, match="exists and is not empty"):
        eject(tmp_path / "run", 1, out)
    with pytest.raises(ConfigError, match="round 2 has no training rows yet"):
        eject(tmp_path / "run", 2, tmp_path / "other")
