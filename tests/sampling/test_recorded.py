"""Samples made elsewhere are judged and trained on. Run: pytest tests/sampling/test_recorded.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.cli import main
from selfimprove.errors import ConfigError
from selfimprove.sampling.recorded import RecordedSampler
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed
from selfimprove.store.tables import read_examples

ROWS = [{"prompt": f"{n}+1=", "answer": str(n + 1)} for n in range(4)]


def project(folder: Path, samples: list[dict[str, Any]], n: int = 2) -> list[str]:
    """The words of an import."""
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (folder / "s.jsonl").write_text("\n".join(map(json.dumps, samples)))
    whole = {
        "model": {"build": "selfimprove.testing:tiny_llama", "args": {"hidden_size": 32, "layers": 1, "heads": 2}},
        "data": {"problems": "p.jsonl", "gate": 1, "report": 1},
        "recipe": {"name": "rest_em", "samples": n},
        "verifier": {"name": "answer_match", "workers": 1},
        "training": {"type": "recording"},
        "cluster": {"backend": "inline"},
    }
    (folder / "c.yaml").write_text(json.dumps(whole))
    return ["import", str(folder / "s.jsonl"), str(folder / "c.yaml"), "--run-dir", str(folder / "run")]


def made(n: int, texts: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"{n}+1=", "completion": text, **more} for text in texts]


def test_texts_and_ids_are_judged_and_trained_on(tmp_path: Path) -> None:
    samples = [row for n in range(3) for row in made(n, [str(n + 1), "9"])]
    samples += made(3, ["4", "5"], prompt_ids=[1, 40, 41], token_ids=[50, 2])
    words = project(tmp_path, samples)
    assert main(words) == 0
    files = RunFiles(tmp_path / "run")
    assert dict(committed(files))["rounds/001"].counts["passed"] == 4
    (file,) = files.local("rounds/001/train/examples").glob("a-*/*.parquet")
    rows = {row.prompt[0].content: row for row in read_examples(file)}
    assert (rows["0+1="].completion, rows["0+1="].prompt_ids, rows["0+1="].completion_ids) == ("1", None, None)
    assert (list(rows["3+1="].prompt_ids), list(rows["3+1="].completion_ids)) == ([1, 40, 41], [50, 2])
    assert main(words) == 0, "done already"
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, made(0, ["7", "8"]))))
    assert main([*words[:-1], str(tmp_path / "other")]) == 2


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(project(tmp_path, made(0, ["1"]))) == 2
    said = capsys.readouterr().err
    assert "samples, and sample" in said and "lower the recipe's number of samples" in said
    for line, what in (
        ('{"prompt": "a"}', "lacks 'completion'"),
        ('{"completion": "a"}', "lacks 'prompt'"),
        ("[1]", ""),
    ):
        (tmp_path / "bad.jsonl").write_text(line)
        with pytest.raises(ConfigError, match=rf"bad\.jsonl:1: .*{what}"):
            RecordedSampler({"samples": str(tmp_path / "bad.jsonl")})
