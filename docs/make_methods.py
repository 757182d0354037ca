"""Writes docs/methods.md from the docstrings of the recipes: ``python docs/make_methods.py``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Methods

Made from the recipes' docstrings by `python docs/make_methods.py`. `selfimprove recipes show NAME` prints one whole.
"""


def text() -> str:
    """The page: one section per recipe, in alphabetical order."""
    sections = [HEAD]
    for path in sorted((ROOT / "pipelines").glob("*.py")):
        if path.stem != "__init__":
            said = ast.get_docstring(ast.parse(path.read_text())) or ""
            sections.append(f"## {path.stem}\n\n{said}\n")
    return "\n".join(sections)


if __name__ == "__main__":
    (ROOT / "docs" / "methods.md").write_text(text())
