"""A small project in a temporary directory: a recipe, a verifier, problems and a configuration that is right."""

from __future__ import annotations

from pathlib import Path

import pytest

RECIPE = '''\
"""Keep what passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class KeepConfig:
    samples: int = 4
    temperature: float | None = None
    start: Literal["base", "previous"] = "base"
    tags: tuple[str, ...] = ()
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError("samples must be at least 1")


def keep(round, config: KeepConfig):
    return round.base


@dataclass(frozen=True)
class NeedyConfig:
    teacher: str
    weights: dict[str, float] = field(default_factory=dict)


def needy(round, config: NeedyConfig):
    return round.base


def bare(round):
    return round.base


def thawed(round, config: "Thawed"):
    return round.base


@dataclass
class Thawed:
    samples: int = 1
'''

VERIFIER = '''\
"""Right if equal."""


def correct(problem, sample, digits: int = 2, strict: bool = False):
    return sample.completion == problem.answer


def anything(problem, sample, **options):
    return True
'''

GENERATOR = '''\
"""Counting."""


def count(n: int, seed: int = 0, *, step: int = 1):
    yield from ({"prompt": str(i), "answer": str(i + step)} for i in range(n))
'''

GOOD = """\
model: org/name
data: {problems: problems.jsonl, gate: 2}
recipe: {name: recipe.py:keep, samples: 8}
verifier: verifier.py:correct
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: ``good.yaml`` and the files that it names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {"recipe.py": RECIPE, "verifier.py": VERIFIER, "generator.py": GENERATOR, "good.yaml": GOOD}
    for name, text in files.items():
        Path(name).write_text(text)
    Path("problems.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    return tmp_path
