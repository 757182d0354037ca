"""What Python sources say, read with ``ast``: nothing here imports or executes what it reads.

Contract: a file is parsed once per modification. A file that is not Python raises ConfigError with its line.
Asking costs milliseconds where importing (torch, vLLM) would cost seconds, which is why ``plan`` can be quick.

See it work: ``pytest tests/test_plugins.py``.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError

# Bases that bring no options of their own.
_EMPTY_BASES = {
    "object",
    "ABC",
    "Generic",
    "Protocol",
    "Struct",
    "PushToHubMixin",
    "Enum",
}


def module_file(name: str) -> Path | None:
    """The source file of a module, found without executing it or the packages that hold it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    return module_in(list(spec.submodule_search_locations or ()), rest)


def module_in(directories: list[str], parts: list[str]) -> Path | None:
    """The source file of the module ``parts`` below one of ``directories``."""
    for directory in directories:
        path = Path(directory, *parts)
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


def tree(file: Path) -> ast.Module:
    """The parsed file. Raises ConfigError with file and line if it is not Python."""
    status = file.stat()
    return _parsed(file, (status.st_mtime_ns, status.st_size))


def top_level(file: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Names bound at the top of a file with the statement that binds them, including below ``if`` and ``try``."""
    pending: list[ast.stmt] = list(tree(file).body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name.split(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from ((part.id, node) for part in ast.walk(target) if isinstance(part, ast.Name))
        else:
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def defines(file: Path, name: str) -> bool:
    """Whether importing the file would bind ``name`` (yes, if it might: ``import *``, ``__getattr__``)."""
    return any(bound in (name, "*", "__getattr__") for bound, _ in top_level(file))


def public(file: Path) -> list[str]:
    """Functions and classes that a file defines itself, without those that start with an underscore."""
    own = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [name for name, node in top_level(file) if isinstance(node, own) and not name.startswith("_")]


def first_line(file: Path, name: str) -> str:
    """First line of the file's docstring, or else of the docstring of ``name`` in it."""
    for node in (
        tree(file),
        *(node for bound, node in top_level(file) if bound == name),
    ):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = ast.get_docstring(node)
            if text:
                return text.splitlines()[0].strip()
    return ""


def parameters(file: Path, name: str) -> tuple[list[str], bool] | None:
    """Names of a function's parameters, and whether it takes any other by ``**``; of a class, those of its
    ``__init__`` (``self`` among them).

    None if ``name`` is no plain ``def`` or class in the file (a partial, an import): only importing would tell.
    """
    for node in tree(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = [m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"]
            return _listed(found[0]) if found else None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name and not node.decorator_list:
            return _listed(node)
    return None


def is_class(file: Path, name: str) -> bool:
    """Whether ``name`` is a class written in the file."""
    return any(bound == name and isinstance(node, ast.ClassDef) for bound, node in top_level(file))


def _listed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[list[str], bool]:
    listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in listed], node.args.kwarg is not None


def constant(file: Path, name: str) -> Any:
    """The literal that a file assigns to ``name`` at its top, or None."""
    for bound, node in top_level(file):
        if bound == name and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            try:
                return ast.literal_eval(node.value)
            except ValueError:
                return None
    return None


def imported(file: Path, package: str) -> set[str]:
    """Names below ``package`` that a file imports at its top: ``a.b`` gives ``b``, ``from a import b`` too."""
    found: set[str] = set()
    for _, node in top_level(file):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith(package + ".")}
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package + "."):
            found.add((node.module or "").split(".")[1])
    return found


def class_fields(module: str, name: str, files: set[Path]) -> set[str] | None:
    """Annotated fields of a class and of its bases, wherever those are written; adds the ``files`` read.

    Private names, ``ClassVar`` and ``field(init=False)`` do not count. None if a base cannot be found: then the
    list would be too short, and a right name would look wrong.
    """
    found = _class(module, name, 0)
    if found is None:
        return None
    file, home, node = found
    files.add(file)
    fields: set[str] = set()
    for base in node.bases:
        title = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if title in _EMPTY_BASES:
            continue
        inherited = class_fields(home, title, files)
        if inherited is None:
            return None
        fields |= inherited
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            fields.discard(statement.target.id)
            if _is_option(statement):
                fields.add(statement.target.id)
    return fields


def _class(module: str, name: str, depth: int) -> tuple[Path, str, ast.ClassDef] | None:
    """The class as written, following imports of it from module to module."""
    file = module_file(module)
    if file is None or depth > 8:
        return None
    imports = []
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return file, module, node
        if isinstance(node, ast.ImportFrom):
            imports += [(node, alias.name) for alias in node.names if (alias.asname or alias.name) == name]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node, original in imports:
        up = package.rsplit(".", node.level - 1)[0] if node.level else ""
        target = ".".join(part for part in (up, node.module or "") if part)
        found = _class(target, original, depth + 1)
        if found is not None:
            return found
    return None


def _is_option(statement: ast.AnnAssign) -> bool:
    assert isinstance(statement.target, ast.Name)
    if statement.target.id.startswith("_") or "ClassVar" in ast.dump(statement.annotation):
        return False
    keywords = statement.value.keywords if isinstance(statement.value, ast.Call) else []
    return not any(k.arg == "init" and isinstance(k.value, ast.Constant) and k.value.value is False for k in keywords)


@functools.lru_cache(maxsize=256)
def _parsed(file: Path, stamp: tuple[int, int]) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise ConfigError(f"{file}:{error.lineno}: not valid Python: {error.msg}") from error
