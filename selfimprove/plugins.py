"""Specs to objects: how the engine reaches recipes, verifiers, problem generators and model builders.

Contract: a spec is a built-in name (``rest_em``), a file and an object (``my.py:judge``), a module and an object
(``pkg.mod:judge``) or a name that another package registered as an entry point. Built-ins are never shadowed.
`locate` and `names` read source files and import nothing; `resolve` imports the one file it needs. Specs travel
between processes, objects do not.

See it work: ``selfimprove recipes ls`` and ``pytest tests/test_plugins.py``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from selfimprove import sources
from selfimprove.errors import ConfigError, SelfImproveError

_PACKAGES = {
    "recipe": "selfimprove.pipelines",
    "verifier": "selfimprove.verifiers",
    "problems": "selfimprove.pipelines.problems",
}
_GROUPS = {
    "recipe": "selfimprove.recipes",
    "verifier": "selfimprove.verifiers",
    "problems": "selfimprove.problems",
}
_PLURALS = {
    "recipe": "recipes",
    "verifier": "verifiers",
    "problems": "problem generators",
    "model": "model builders",
}
_WORDS = {
    "recipe": "recipe",
    "verifier": "verifier",
    "problems": "problem generator",
    "model": "model builder",
    "script": "script",
}


DIALECTS = ("trl", "verl", "openrlhf", "verifiers")
"""Before the spec of a verifier: a reward function written for that trainer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a spec's object is written: ``file`` holds ``object``; ``module`` is None for a user's own file."""

    kind: str
    spec: str
    file: Path
    object: str
    module: str | None
    origin: str


def resolve(kind: str, spec: str, base: Path | None = None) -> Any:
    """The object that ``spec`` names, imported. A relative file is looked up below ``base`` (default: here).

    Raises ConfigError with what exists, and with "did you mean" where something is close.
    """
    place = locate(kind, spec, base)
    try:
        module = _import_file(place.file) if place.module is None else importlib.import_module(place.module)
    except Exception as error:  # whatever a user's file does while it is imported, the fault lies in that file
        what = f"{place.file}:{_line_in(error, place.file)}: {type(error).__name__}: {error}"
        raise ConfigError(f"{_WORDS[kind]} {spec!r} cannot be imported: {what}") from error
    if not hasattr(module, place.object):
        raise _no_object(place.spec, place.file, place.object)
    return getattr(module, place.object)


@contextmanager
def blamed(kind: str, spec: str, when: str) -> Iterator[None]:
    """Turn an exception that a user's own plugin raises, itself or in a library it calls, into a ConfigError.

    Our own errors, and whatever our code raises when the plugin calls it, pass as they are.
    """
    try:
        yield
    except SelfImproveError:
        raise
    except Exception as error:  # whatever it is, the fault lies in that file
        place = locate(kind, spec)
        if place.origin == "built-in" or _raised_by_us(error, place.file):
            raise
        what = f"{place.file}:{_line_in(error, place.file)}: {type(error).__name__}: {error}"
        hint = "correct it; the same command continues from the last finished step"
        raise ConfigError(f"{_WORDS[kind]} {spec!r} failed {when}: {what}", hint=hint) from error


def _raised_by_us(error: Exception, file: Path) -> bool:
    """Whether the error went through a file of this package after it went through ``file``."""
    home, step, below = str(Path(__file__).parent), error.__traceback__, False
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        below = name != str(file) and (below or name.startswith(home + os.sep))
        step = step.tb_next
    return below


def locate(kind: str, spec: str, base: Path | None = None) -> Place:
    """Where the object is, found by reading sources only. Raises ConfigError as `resolve` does."""
    spec = split_dialect(spec)[1] if kind == "verifier" else spec
    left, colon, name = spec.rpartition(":")
    if not colon:
        return _locate_name(kind, spec, base)
    if not left or not name.isidentifier():
        raise ConfigError(f"{spec!r} is not of the form file.py:object or package.module:object")
    if _is_file(left):
        place = Place(kind, spec, _path(left, base), name, None, "file")
        if not place.file.is_file():
            raise ConfigError(f"no file {left!r}{_looked_in(place.file)}{_suggest_file(place.file)}")
    else:
        file = module_file(left)
        if file is None:
            raise ConfigError(
                f"no module {left!r} is installed",
                hint=f"for a file of yours write path/to/file.py:{name}",
            )
        place = Place(kind, spec, file, name, left, "module")
    if not sources.defines(place.file, name):
        raise _no_object(spec, place.file, name)
    return place


def names(kind: str) -> list[tuple[str, str, str]]:
    """``(name, first line of the docstring, origin)`` of all that can be named, without importing any of it."""
    found = [(name, sources.first_line(file, name), "built-in") for name, file in sorted(_builtins(kind).items())]
    builtin = {name for name, _, _ in found}
    for point in _entry_points(kind):
        if point.name in builtin:
            continue
        module, _, attribute = point.value.partition(":")
        file = module_file(module)
        line = sources.first_line(file, attribute) if file else "(its module is not installed)"
        found.append((point.name, line, point.dist.name if point.dist else "entry point"))
    return found


def source_digest(kind: str, spec: str, base: Path | None = None) -> str:
    """blake3 (hex) of the bytes of the file that holds the object: a changed file is a changed plugin."""
    import blake3

    return blake3.blake3(locate(kind, spec, base).file.read_bytes()).hexdigest()


def absolute(spec: str, base: Path | None = None) -> str:
    """The same spec with a file's path made absolute, so that it means the same in any directory."""
    dialect, spec = split_dialect(spec)
    left, colon, name = spec.rpartition(":")
    plain = f"{_path(left, base)}:{name}" if colon and _is_file(left) else spec
    return f"{dialect}:{plain}" if dialect else plain


def split_dialect(spec: str) -> tuple[str, str]:
    """``("trl", "my.py:reward")`` of ``trl:my.py:reward``; an empty dialect for any other spec."""
    first, _, rest = spec.partition(":")
    return (first, rest) if first in DIALECTS and ":" in rest else ("", spec)


def recipe_config_class(recipe: Callable[..., Any]) -> type:
    """The frozen dataclass that annotates a recipe's second parameter. Raises ConfigError if there is none."""
    name = getattr(recipe, "__name__", "name")
    form = f"a recipe is `def {name}(round, config: Config)` with a frozen dataclass Config"
    code = getattr(recipe, "__code__", None)
    if code is None or code.co_argcount < 2:
        raise ConfigError(f"{getattr(recipe, '__name__', recipe)!r} is not a recipe: {form}")
    try:
        hint = get_type_hints(recipe).get(code.co_varnames[1])
    except NameError as error:
        raise ConfigError(f"recipe {name!r}: an annotation cannot be read: {error}", hint=form) from error
    if not (isinstance(hint, type) and is_dataclass(hint)):
        raise ConfigError(f"recipe {name!r}: its second parameter names no dataclass: {form}")
    if not hint.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(f"recipe {name!r}: {hint.__name__} must be frozen: @dataclass(frozen=True)")
    return hint


def presets() -> dict[str, Path]:
    """Name -> file of every configuration that comes with the package."""
    _, directory = _package(_PACKAGES["recipe"])
    return {file.stem: file for file in sorted((directory / "presets").glob("*.yaml"))}


def suggest(word: str, candidates: Iterable[str]) -> str:
    """``" - did you mean 'x'?"`` if something is close to ``word``, else nothing."""
    known = list(candidates)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close and len(word) >= 3:
        # "temp" abbreviates "temperature"; "rank" and "rank_pattern" are two things
        close = [name for name in known if name.startswith(word) and name[len(word) :][:1].isalnum()][:1]
    return f" - did you mean {close[0]!r}?" if close else ""


def module_file(name: str) -> Path | None:
    """The source file of a module, found without executing it; knows where the built-in packages lie."""
    for package in _PACKAGES.values():
        if name.startswith(package + "."):
            _, directory = _package(package)
            return sources.module_in([str(directory)], name.removeprefix(package + ".").split("."))
    return sources.module_file(name)


def _locate_name(kind: str, name: str, base: Path | None) -> Place:
    if _is_file(name):
        file = _path(name, base)
        defined = sorted(sources.public(file), key=lambda name: name[0].isupper()) if file.is_file() else []
        example = f"{name}:{defined[0] if defined else 'object'}"
        raise ConfigError(f"{name!r} names a file but no object in it: write {example}")
    if kind not in _PACKAGES:
        raise ConfigError(f"{name!r} is not of the form file.py:function or package.module:function")
    builtins = _builtins(kind)
    if name in builtins:
        package, _ = _package(_PACKAGES[kind])
        return Place(kind, name, builtins[name], name, f"{package}.{name}", "built-in")
    points = {point.name: point for point in _entry_points(kind)}
    if name in points:
        module, _, attribute = points[name].value.partition(":")
        source = module_file(module)
        if source is None:
            raise ConfigError(f"{_WORDS[kind]} {name!r} is registered as {points[name].value}, which is not installed")
        return Place(kind, name, source, attribute, module, "entry point")
    known = sorted({*builtins, *points})
    exists = ", ".join(known) if known else "none"
    raise ConfigError(
        f"no {_WORDS[kind]} {name!r}{suggest(name, known)}",
        hint=f"{_PLURALS[kind]}: {exists}; your own: path/to/file.py:object",
    )


def _builtins(kind: str) -> dict[str, Path]:
    """Built-in name -> file: a module counts if it defines an object of its own name."""
    _, directory = _package(_PACKAGES[kind])
    files = (file for file in directory.glob("*.py") if not file.name.startswith("_"))
    return {file.stem: file for file in files if sources.defines(file, file.stem)}


@functools.cache
def _package(name: str) -> tuple[str, Path]:
    """Name and directory of a built-in package; without an install, the directory beside ``selfimprove``."""
    parent, _, leaf = name.rpartition(".")
    if parent in _PACKAGES.values():
        return name, _package(parent)[1] / leaf
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        directory = Path(__file__).resolve().parent.parent / leaf
        file = directory / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(directory)])
        if not file.is_file() or spec is None or spec.loader is None:
            raise ConfigError(
                f"{name} is not installed",
                hint="install selfimprove again: pip install selfimprove",
            )
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return name, Path(next(iter(spec.submodule_search_locations or ())))


def _entry_points(kind: str) -> Iterator[Any]:
    from importlib.metadata import entry_points

    return iter(entry_points(group=_GROUPS[kind])) if kind in _GROUPS else iter(())


def _import_file(file: Path) -> ModuleType:
    """Import a user's file under a name made of its path and content: an edited file is imported anew."""
    import blake3

    digest = blake3.blake3(str(file).encode() + b"\0" + file.read_bytes()).hexdigest()[:16]
    name = f"selfimprove_user_{file.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # last, so that a user's types.py hides nothing
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_in(error: Exception, file: Path) -> int:
    """The last line of ``file`` that the error went through; 1 if it never got that far."""
    lines, step = [1], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(file):
            lines.append(step.tb_lineno)
        step = step.tb_next
    return lines[-1]


def _is_file(left: str) -> bool:
    return left.endswith(".py") or "/" in left or os.sep in left


def _path(text: str, base: Path | None) -> Path:
    return Path(os.path.abspath((base or Path.cwd()) / Path(text).expanduser()))


def _no_object(spec: str, file: Path, name: str) -> ConfigError:
    defined = sources.public(file)
    what = f"{file.name} defines no {name!r}{suggest(name, defined)}"
    return ConfigError(
        f"{spec}: {what}",
        hint=f"{file.name} defines: {', '.join(defined) or 'nothing'}",
    )


def _looked_in(file: Path) -> str:
    return "" if file.parent.is_dir() else f" (there is no directory {file.parent})"


def _suggest_file(file: Path) -> str:
    return suggest(file.name, (f.name for f in file.parent.glob("*.py"))) if file.parent.is_dir() else ""
