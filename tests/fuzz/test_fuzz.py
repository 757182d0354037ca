"""Any text gives a result within the limit. Run: pytest tests/fuzz"""

# ruff: noqa: E501 - pieces stand side by side

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, within_limit

PIECES = st.sampled_from(
    ["\\frac", "\\sqrt", "\\boxed{", "{", "}", "(", ")", "[", "]", "^", "_", "\\left", "\\right", "\\text{", "####", "=",
     "12", "0.5", "x", "\\pi", "\\infty", ",", ";", "%", "$", "\\%", "\\cup", "\\pm", "-", "+", "*", "/", "!", "1/0", "e", "i",
     "The answer is ", "\n", "```python\n", "```", "assert f(", ") == ", "[[A]]", "Score: ", "CORRECT", "<think>", "</think>",
     "\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "9" * 40, "٣", "½", "²", "\ud800", "\x00", '["l",[', '["i","', "]]"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join))


@pytest.mark.parametrize("name", TARGETS)
def test_any_text_is_taken(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(TEXTS)
    def run(text: str) -> None:
        within_limit(TARGETS[name], text)

    run()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs pip install atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_guided_by_coverage(name: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fuzz", name, "20"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=200, check=False)
    for found in root.glob("crash-*"):
        found.rename(tmp_path / found.name)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr or "Done" in done.stderr
