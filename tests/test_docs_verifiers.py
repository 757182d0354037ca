"""Every verifier in docs/verifiers.md works as it says. Run: pytest tests/test_docs_verifiers.py"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfimprove import plugins
from selfimprove.judging import Reply
from selfimprove.types import Problem, Sample, messages
from selfimprove.verify import VerifierPool
from selfimprove.verify.forms import form_of, make
from tests.verify.support import collect

TEXT = (Path(__file__).parents[1] / "docs/verifiers.md").read_text()
FENCED = re.findall(r"```python\n(.*?)```", TEXT, re.S)
BLOCKS = {name: block for block in FENCED for name in re.findall(r"(?:def|class) (\w+)", block)[:1]}
PROBLEM = Problem("p", messages("Ask nicely."), "4")


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"s/{i}", "p", i, "", "", [], text, [], "stop", i, "") for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("name", "texts", "outcomes"),
    [
        ("polite", ["please go", "go"], ["pass", "fail"]),
        ("shortest_half", ["a", "bb", "ccc", "dddd"], ["pass", "pass", "fail", "fail"]),
        ("novel", ["a", "a", "b"], ["pass", "fail", "pass"]),
        ("patient", ["x", " "], ["pass", "fail"]),
    ],
)
def test_the_examples_judge(name: str, texts: list[str], outcomes: list[str], tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(BLOCKS[name])
    with VerifierPool({"name": f"{tmp_path}/my.py:{name}"}, workers=1) as pool:
        pool.submit(1, [(PROBLEM, sample) for sample in samples(*texts)])
        assert [verdict.outcome for verdict in collect(pool)[1]] == outcomes


def test_the_example_that_asks_a_model(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(BLOCKS["asked"])
    spec = f"{tmp_path}/my.py:asked"
    assert form_of(spec).kind == "judge"
    judge = make(spec, plugins.resolve("verifier", spec), {})
    group = samples("4", "5", "6")
    assert len(judge.questions(PROBLEM, group)) == 3
    found = judge.verdicts(PROBLEM, group, [Reply("CORRECT", "stop"), Reply("INCORRECT", "stop"), Reply("hm", "stop")])
    assert [verdict.outcome for verdict in found] == ["pass", "fail", "error"]


def test_the_example_of_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package has it: its metadata beside its module."""
    (table,) = re.findall(r"```toml\n\[project.entry-points.\"(.*?)\"\]\n(.*?)```", TEXT, re.S)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{table[0]}]\n{table[1].replace(chr(34), '')}")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/__init__.py").write_text("")
    (tmp_path / "my_package/judging.py").write_text(BLOCKS["polite"])
    monkeypatch.syspath_prepend(str(tmp_path))
    with VerifierPool({"name": "polite"}, workers=1) as pool:
        pool.submit(1, [(PROBLEM, sample) for sample in samples("please", "now")])
        assert [verdict.outcome for verdict in collect(pool)[1]] == ["pass", "fail"]


def test_every_shipped_verifier_is_listed() -> None:
    for name, _, origin in plugins.names("verifier"):
        assert origin != "built-in" or f"`{name}`" in TEXT
