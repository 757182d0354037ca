"""The README's own-project section, word for word, from another directory. Run: pytest tests/e2e/test_readme.py"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.project import command, status

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, having: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in found if having in text)


@pytest.mark.slow
def test_own_problems_own_verifier_own_model(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    row = json.loads(block("json", "prompt"))
    assert row == {"prompt": "07+35=", "answer": "42"}
    rows = [{"prompt": f"{a:02d}+{b:02d}=", "answer": str(a + b)} for a in range(20) for b in range(20)]
    (project / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    verifier = block("python", "def correct")
    assert len(verifier.strip().splitlines()) <= 12
    (project / "verifier.py").write_text(verifier)
    (project / "config.yaml").write_text(block("yaml", "verifier.py:correct"))
    build = "import sys; from selfimprove.testing import tiny_llama; tiny_llama(sys.argv[1], hidden_size=64, heads=2)"
    subprocess.run([sys.executable, "-c", build, str(project / "model")], check=True)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    planned = command("plan", "../project/config.yaml", cwd=elsewhere)
    assert planned.returncode == 0 and "200 train, 100 gate, 100 report" in planned.stdout, planned.stderr
    done = command("run", "../project/config.yaml", "--progress", "none", cwd=elsewhere)
    # A model of random weights is right by accident or never: every end that is not an error is a good one.
    assert done.returncode in (0, 3, 9), done.stderr[-3000:]
    found = status(elsewhere / "runs/config")
    assert found["state"] in ("finished", "starved")
    assert found["base"]["accuracy"]["n"] == 100
    shown = command("show", "runs/config", "--limit", "3", cwd=elsewhere)
    assert shown.returncode == 0 and "prompt:" in shown.stdout
