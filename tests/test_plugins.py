"""Specs to objects: built-ins, files, modules, entry points; and reading sources without importing them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove import plugins, sources
from selfimprove.errors import ConfigError

FILE = '''\
"""What it does.

More.
"""
import helper_of_mine

loaded = []


def judge(problem, sample, *, digits: int = 2):
    """Judge."""
    return helper_of_mine.VALUE


class Thing:
    pass


def _private(): ...
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "helper_of_mine.py").write_text("VALUE = 7\n")
    return tmp_path


def error(kind: str, spec: str, base: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        plugins.resolve(kind, spec, base)
    return str(caught.value)


def test_built_ins_resolve_to_the_object_of_their_own_name() -> None:
    for kind in ("recipe", "verifier", "problems"):
        built_in = [name for name, _, origin in plugins.names(kind) if origin == "built-in"]
        assert built_in == sorted(built_in)
        for name in built_in:
            assert plugins.resolve(kind, name).__name__ == name


def test_every_built_in_recipe_has_a_config_class_and_a_first_line() -> None:
    found = plugins.names("recipe")
    assert found
    for name, line, _ in found:
        assert line
        assert plugins.recipe_config_class(plugins.resolve("recipe", name)).__dataclass_params__.frozen


def test_names_imports_nothing() -> None:
    code = (
        "import sys; from selfimprove import plugins;"
        "[plugins.names(kind) for kind in ('recipe', 'verifier', 'problems')];"
        "print([m for m in sys.modules if m.startswith(('selfimprove.pipelines.', 'selfimprove.verifiers.'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_file_beside_its_helper(here: Path) -> None:
    assert plugins.resolve("verifier", "mine.py:judge")(None, None) == 7
    assert plugins.resolve("verifier", str(here / "mine.py:judge"))(None, None) == 7
    assert plugins.resolve("verifier", "../mine.py:judge", here / "sub")(None, None) == 7


def test_an_edited_file_is_imported_anew_and_an_unchanged_one_once(here: Path) -> None:
    first = plugins.resolve("verifier", "mine.py:judge")
    assert plugins.resolve("verifier", "mine.py:judge") is first
    (here / "mine.py").write_text(FILE.replace("helper_of_mine.VALUE", "'edited'"))
    assert plugins.resolve("verifier", "mine.py:judge")(None, None) == "edited"


def test_a_module(here: Path) -> None:
    import json

    assert plugins.resolve("model", "json:dumps") is json.dumps
    assert plugins.resolve("model", "json.decoder:JSONDecoder") is json.JSONDecoder


def test_what_is_not_there_is_named_with_what_is(here: Path) -> None:
    assert error("verifier", "mine.py:jugde") == "mine.py:jugde: mine.py defines no 'jugde' - did you mean 'judge'?"
    assert error("verifier", "min.py:judge") == "no file 'min.py' - did you mean 'mine.py'?"
    assert "there is no directory" in error("verifier", "sub/mine.py:judge")
    assert error("verifier", "mine.py") == "'mine.py' names a file but no object in it: write mine.py:judge"
    assert error("verifier", "mine.py:") == "'mine.py:' is not of the form file.py:object or package.module:object"
    assert error("model", "tiny") == "'tiny' is not of the form file.py:function or package.module:function"
    assert error("verifier", "no_such_package:judge") == "no module 'no_such_package' is installed"
    assert error("recipe", "zzzz") == "no recipe 'zzzz'"


def test_misspelt_built_ins_are_suggested() -> None:
    name = plugins.names("recipe")[0][0]
    assert error("recipe", name + "x") == f"no recipe '{name}x' - did you mean '{name}'?"


def test_a_file_that_fails_is_named_with_its_line(here: Path) -> None:
    (here / "mine.py").write_text("x = 1\ny = x.nope\n\ndef judge(): ...\n")
    assert f"{here / 'mine.py'}:2: AttributeError" in error("verifier", "mine.py:judge")
    (here / "mine.py").write_text("def judge(:\n")
    assert f"{here / 'mine.py'}:1: not valid Python" in error("verifier", "mine.py:judge")


def test_locate_does_not_execute(here: Path) -> None:
    (here / "mine.py").write_text("raise SystemExit(3)\ndef judge(): ...\n")
    place = plugins.locate("verifier", "mine.py:judge")
    assert (place.file, place.object, place.module) == (here / "mine.py", "judge", None)


def test_digest_follows_the_file(here: Path) -> None:
    first = plugins.source_digest("verifier", "mine.py:judge")
    assert len(first) == 64
    assert plugins.source_digest("verifier", str(here / "mine.py:judge")) == first
    (here / "mine.py").write_text(FILE + "\n")
    assert plugins.source_digest("verifier", "mine.py:judge") != first


def test_absolute_touches_files_only(here: Path) -> None:
    assert plugins.absolute("mine.py:judge") == f"{here}/mine.py:judge"
    assert plugins.absolute("mine.py:judge", here / "a") == f"{here}/a/mine.py:judge"
    for spec in ("name", "pkg.mod:judge", f"{here}/mine.py:judge"):
        assert plugins.absolute(spec) == spec


def test_entry_points_of_other_packages(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(here))
    built_in = plugins.names("recipe")[0][0]
    info = here / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[selfimprove.recipes]\ntheirs = mine:judge\n{built_in} = mine:judge\ngone = no_such_package:judge\n"
    )
    found = {name: (line, origin) for name, line, origin in plugins.names("recipe")}
    assert found["theirs"] == ("What it does.", "their-package")
    assert found[built_in][1] == "built-in"
    assert found["gone"][0] == "(its module is not installed)"
    assert plugins.resolve("recipe", "theirs").__name__ == "judge"
    assert plugins.resolve("recipe", built_in).__name__ == built_in
    assert "which is not installed" in error("recipe", "gone")


def test_without_an_install_the_packages_beside_this_one_are_used(tmp_path: Path) -> None:
    """As on a worker that was sent the repository only: a copy, found through the path, nothing installed."""
    root = Path(plugins.__file__).parent.parent
    (tmp_path / "selfimprove").mkdir()
    for file in (root / "selfimprove").glob("*.py"):
        (tmp_path / "selfimprove" / file.name).write_bytes(file.read_bytes())
    for name in ("pipelines", "verifiers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "verifiers" / "fine.py").write_text("def fine(problem, sample): return True\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()];"
        "from selfimprove import plugins; print(plugins.resolve('verifier', 'fine').__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "selfimprove.verifiers.fine", done.stderr


def test_parameters_are_read_from_the_source(here: Path) -> None:
    assert sources.parameters(here / "mine.py", "judge") == (["problem", "sample", "digits"], False)
    assert sources.parameters(here / "mine.py", "Thing") is None
    assert sources.public(here / "mine.py") == ["judge", "Thing"]
    assert sources.first_line(here / "mine.py", "judge") == "What it does."


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("def f(): ...", True),
        ("async def f(): ...", True),
        ("f = g = 1", True),
        ("f: int = 1", True),
        ("a, (b, f) = 1, (2, 3)", True),
        ("from x import y as f", True),
        ("from x import *", True),
        ("if True:\n    f = 1", True),
        ("try:\n    import f\nexcept ImportError:\n    pass", True),
        ("def g():\n    f = 1", False),
        ("class f_:\n    f = 1", False),
        ("print('f')", False),
    ],
)
def test_what_a_file_defines(tmp_path: Path, text: str, bound: bool) -> None:
    file = tmp_path / "file.py"
    file.write_text(text)
    assert sources.defines(file, "f") is bound
