"""Arrows point down, sizes stay readable, the engine names no method. Run: pytest tests/test_architecture.py"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "vllm", "trl", "ray", "transformers", "datasets", "peft", "accelerate", "pyarrow", "tokenizers"}
LINUX = {"fcntl", "resource"}

# A module may import modules of lower levels, and of its own package.
LEVELS = [
    {"types", "errors", "__version__"},
    {"sources", "equations", "text", "rows", "control", "views", "store", "prompts", "processes"},
    {"plugins", "readers", "selection", "policies", "answers", "sandbox", "judging"},
    {"config", "data", "pairing"},
    {"cluster", "sampling", "training", "select", "identity", "mixture"},
    {"verify", "evaluate", "report"},
    {"workers", "gate", "audit", "work"},
    {"pipeline", "results"},
    {"inputs", "context"},
    {"judged", "beginning"},
    {"round"},
    {"run"},
    {"rejudge", "probe", "rewards"},
    {"export", "eject"},
    {"cli"},
    {"testing", "__main__", "__init__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def area(path: Path) -> str:
    return path.relative_to(ROOT / "selfimprove").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "selfimprove":
            yield from (f"selfimprove.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def top_imports(path: Path) -> set[str]:
    """Packages imported when the module is imported; blocks under TYPE_CHECKING do not run."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", python_files("selfimprove"), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    own = area(path)
    assert own in LEVEL, f"give {own} a level"
    if own == "__init__":
        return  # the public names are looked up lazily
    for name in imports(path):
        if name.partition(".")[0] != "selfimprove" or name == "selfimprove":
            continue
        other = name.split(".")[1]
        if other not in LEVEL and not (ROOT / "selfimprove" / f"{other}.py").exists():
            continue  # a public noun
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} (level {LEVEL[own]}) imports {other}"


@pytest.mark.parametrize("path", python_files("selfimprove"), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_are_cheap(path: Path) -> None:
    assert not top_imports(path) & (HEAVY | LINUX), "import heavy and Linux-only modules inside functions"


def test_the_nouns_import_the_standard_library_only() -> None:
    assert top_imports(ROOT / "selfimprove/types.py") <= {"__future__", "collections", "dataclasses", "typing"}


@pytest.mark.parametrize(
    "path", [*python_files("pipelines"), *python_files("verifiers")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_recipes_and_verifiers_use_public_names_only(path: Path) -> None:
    ours = [name for name in imports(path) if name.partition(".")[0] == "selfimprove"]
    allowed = {f"selfimprove.{name}" for name in ("errors", "text", "answers", "sandbox", "judging")}
    assert all(name.count(".") == 1 and (name[12:13].isupper() or name in allowed or _public(name)) for name in ours)


def _public(name: str) -> bool:
    import selfimprove

    return name.removeprefix("selfimprove.") in selfimprove.__all__


def test_the_engine_names_no_method_and_no_verifier() -> None:
    files = [*(ROOT / "pipelines").glob("*.py"), *(ROOT / "verifiers").glob("*.py")]
    names = {path.stem for path in files} - {"__init__", "none", "sft", "reward_model"}
    # sft is an objective too, and reward_model a column of verl's
    for path in python_files("selfimprove"):
        for node in ast.walk(ast.parse(path.read_text())):
            said = {
                ast.Constant: lambda n: n.value if isinstance(n.value, str) else "",
                ast.Name: lambda n: n.id,
                ast.Attribute: lambda n: n.attr,
            }.get(type(node), lambda n: "")(node)
            assert said not in names, f"{path.relative_to(ROOT)} names {said}"


@pytest.mark.parametrize(
    "path",
    [path for folder in ("selfimprove", "pipelines", "verifiers", "benchmarks") for path in python_files(folder)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_files_and_functions_fit_a_reader(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= (80 if path.parent == ROOT / "pipelines" else 400), f"{lines} lines"
    longest = max(functions(path), key=lambda item: item[1], default=("", 0))
    assert longest[1] <= 60, f"{longest[0]} has {longest[1]} lines"


def test_functions_are_short() -> None:
    sizes = [size for path in python_files("selfimprove") for _, size in functions(path)]
    assert statistics.median(sizes) < 15


@pytest.mark.parametrize(
    "path",
    [path for folder in ("selfimprove", "pipelines", "verifiers") for path in python_files(folder)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_modules_say_what_they_are_and_how_to_see_it(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert said, "a module docstring says what it is, its contract, and how to see it work"
    if path.is_relative_to(ROOT / "selfimprove"):
        assert "Contract:" in said and "See it work:" in said


WRITES = {"write_text", "write_bytes", "unlink", "rmtree", "rename"}
ENGINE = ("run.py", "round.py", "pipeline.py", "workers.py", "results.py", "identity.py", "inputs.py", "gate.py")


@pytest.mark.parametrize("name", ENGINE)
def test_only_the_store_writes_run_files(name: str) -> None:
    for node in ast.walk(ast.parse((ROOT / "selfimprove" / name).read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in WRITES and called != "open", f"{name}:{node.lineno} calls {called}"
