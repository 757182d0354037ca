"""What the documents show works, and generated pages are current. Run: pytest tests/test_docs.py"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from selfimprove import Message, Problem, Sample, plugins
from selfimprove.config import load_config

ROOT = Path(__file__).parents[1]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_methods_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_methods", ROOT / "docs/make_methods.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/methods.md").read_text() == module.text(), "run: python docs/make_methods.py"


@pytest.mark.parametrize("said, outcome", [("12", "pass"), ("13", "fail"), ("012", "fail"), ("x", "fail")])
def test_the_verifier_in_contributing_works(tmp_path: Path, said: str, outcome: str) -> None:
    source = next(block for block in blocks("CONTRIBUTING.md", "python") if "def even" in block)
    assert len(source.strip().splitlines()) <= 12
    (tmp_path / "even.py").write_text(source)
    judge = plugins.resolve("verifier", f"{tmp_path}/even.py:even")
    problem = Problem("p", (Message("text", "An even number: "),))
    sample = Sample("s", "p", 0, "", "An even number: ", (), said, (), "stop", 0, "x")
    assert judge(problem, sample).outcome == outcome


def test_the_recipe_in_contributing_loads_with_its_options(tmp_path: Path) -> None:
    source = next(block for block in blocks("CONTRIBUTING.md", "python") if "def best_of_n" in block)
    assert len(source.strip().splitlines()) <= 40
    (tmp_path / "best_of_n.py").write_text(source)
    overrides = [f"recipe={{name: '{tmp_path}/best_of_n.py:best_of_n', samples: 3}}"]
    assert load_config(["quickstart"], overrides).recipe.options["samples"] == 3


@pytest.mark.parametrize("number", range(5))
def test_the_configurations_of_real_models_load(tmp_path: Path, number: int) -> None:
    found = blocks("docs/scale.md", "yaml")
    assert len(found) == 5
    for name in ("math.jsonl", "code.parquet", "chat.jsonl"):
        (tmp_path / name).touch()
    base = "model: {build: 'selfimprove.testing:tiny_llama'}\nrecipe: rest_em\n"
    base = base if "sources:" in found[number] else "extends: quickstart\n"
    (tmp_path / "config.yaml").write_text(base + found[number])
    load_config([tmp_path / "config.yaml"])


def test_every_preset_loads() -> None:
    for name in plugins.presets():
        assert load_config([name]).recipe.name
