"""From files and words to a `RunConfig`: layers, origins, and every fault at once.

Contract: later wins: defaults < ``extends`` < files from left to right < ``SELFIMPROVE__A__B`` < ``key.path=value``.
A file is a path, a run directory (its resolved configuration) or the name of a preset. Relative paths are meant from
the file that holds them, those of overrides from the current directory. Anything wrong raises `InvalidConfig`.

See it work: ``selfimprove config show quickstart rounds=1 --explain``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfimprove import plugins
from selfimprove.config import checks, messages, native, recipes, strict_yaml
from selfimprove.config.models import RunConfig
from selfimprove.config.tree import Fault, InvalidConfig, Layer, Origin, get, merge, put
from selfimprove.config.views import flatten
from selfimprove.errors import ConfigError

RESOLVED = "config.resolved.yaml"
ENV_PREFIX = "SELFIMPROVE__"
_OVERRIDE = re.compile(r"([A-Za-z_][\w.-]*)(\+?)=(.*)", re.DOTALL)


def load_config(files: Iterable[str | Path], overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration that ``files`` (later wins) and ``key.path=value`` overrides describe.

    Raises `InvalidConfig` with all faults, one a line: ``file:line:column: key: what - did you mean 'x'?``.
    """
    return load_with_origins(files, overrides)[0]


def load_with_origins(
    files: Iterable[str | Path],
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[RunConfig, dict[str, str]]:
    """As `load_config`, with dotted key -> ``default``, ``file:line``, ``env`` or ``override``."""
    layer = _layers(
        [str(file) for file in files],
        list(overrides),
        os.environ if environ is None else environ,
    )
    found = checks.check(layer)
    try:
        _validate(layer.value)
    except ValidationError as error:
        found = [_with_home(fault) for fault in messages.faults(error, layer)] + found
    if found:
        raise InvalidConfig(sorted(found, key=_position))
    checks.anchor(layer)
    config = _validate(_with_recipe_defaults(layer.value))
    return config, _origins(config, layer)


def is_override(word: str) -> bool:
    """Whether a word of a command line is ``key=value`` rather than a file."""
    return _OVERRIDE.fullmatch(word) is not None and not Path(word).exists()


def find(word: str, base: Path | None = None) -> Path | None:
    """The file that a word stands for: itself, a run's resolved configuration or a preset; None if nothing."""
    path = (base or Path.cwd()) / Path(word).expanduser()
    if path.is_dir():
        path = path / RESOLVED
    if path.is_file():
        return path
    return plugins.presets().get(word)


def _with_home(fault: Fault) -> Fault:
    """Point an unknown key that is some library's option to where such options go."""
    if not fault.what.startswith("unknown key") or "did you mean" in fault.what:
        return fault
    home = native.home(fault.key.rpartition(".")[2])
    return replace(fault, what=f"unknown key - did you mean {home!r}?") if home else fault


def _validate(value: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate_json(json.dumps(value))


def _with_recipe_defaults(value: dict[str, Any]) -> dict[str, Any]:
    result = dict(value)
    for role in ("recipe", "warmup"):
        chosen = value.get(role)
        if chosen is not None:
            given = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
            name = given.pop("name")
            result[role] = {"name": name, **recipes.complete(name, given)}
    return result


def _layers(files: list[str], overrides: list[str], environ: Mapping[str, str]) -> Layer:
    here = Origin("override", "command line", Path.cwd())
    if not files and not overrides:
        raise ConfigError(
            "no configuration given",
            hint=f"presets: {', '.join(plugins.presets()) or 'none'}",
        )
    layer = Layer(here)
    found: list[Fault] = []
    for word in files:
        try:
            layer = merge(layer, _file(word, replace(here, where=word), ()))
        except InvalidConfig as error:
            found += error.faults
    try:
        layer = _on_top(layer, _env(environ))
        layer = _on_top(layer, [_parse_override(text) for text in overrides])
    except InvalidConfig as error:
        found += error.faults
    if found:
        raise InvalidConfig(found)
    return layer


def _file(word: str, named: Origin, chain: tuple[Path, ...]) -> Layer:
    """A file on top of what it extends. ``named`` is where its name was written, ``chain`` who extends it."""
    path = find(word, named.base)
    key = "extends" if chain else ""
    if path is None:
        raise InvalidConfig([Fault(named, key, _no_such_file(word, named.base))])
    path = path.resolve()
    if path in chain:
        names = " -> ".join(file.name for file in (*chain, path))
        raise InvalidConfig([Fault(named, key, f"{word!r} extends itself: {names}")])
    own = strict_yaml.read(path, _shown(path, word if not chain else ""))
    parents = own.value.pop("extends", [])
    found: list[Fault] = []
    below = Layer(own.root)
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise InvalidConfig([Fault(own.origin(("extends",)), "extends", "expected a list of files")])
    for index, parent in enumerate(parents):
        try:
            below = merge(below, _file(parent, own.origin(("extends", index)), (*chain, path)))
        except InvalidConfig as error:
            found += error.faults
    if found:
        raise InvalidConfig(found)
    return merge(below, own)


def _no_such_file(word: str, base: Path) -> str:
    path = base / word
    if path.is_dir():
        return f"a directory without {RESOLVED}: not a run"
    near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    presets = plugins.presets()
    what = f"no such file or preset{plugins.suggest(path.name, [*near, *presets])}"
    return what if "did you mean" in what or not presets else f"{what} (presets: {', '.join(presets)})"


def _shown(path: Path, word: str) -> str:
    """The name to print: as given, else relative to here if it lies below."""
    if word and not Path(word).is_dir() and Path(word).suffix:
        return word
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _env(environ: Mapping[str, str]) -> list[tuple[Origin, str, bool, Any]]:
    assignments = []
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            origin = Origin("env", name, Path.cwd())
            key = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            assignments.append((origin, key, False, strict_yaml.parse_value(environ[name], origin)))
    return assignments


def _parse_override(text: str) -> tuple[Origin, str, bool, Any]:
    origin = Origin("override", text, Path.cwd())
    match = _OVERRIDE.fullmatch(text)
    if match is None:
        raise InvalidConfig([Fault(origin, "", "expected key.path=value")])
    key, plus, value = match.groups()
    if not value.strip():
        raise InvalidConfig(
            [
                Fault(
                    origin,
                    key,
                    f"no value given: {key}=null for nothing, {key}='\"\"' for empty text",
                )
            ]
        )
    return origin, key, bool(plus), strict_yaml.parse_value(value, origin)


def _on_top(layer: Layer, assignments: Sequence[tuple[Origin, str, bool, Any]]) -> Layer:
    """One layer of all assignments, so that their order does not matter unless two say the same key."""
    top = Layer(layer.root)
    for origin, dotted, append, value in assignments:
        key = tuple(dotted.split("."))
        if append:
            current = get(merge(layer, top).value, key)
            if not isinstance(value, list) or not isinstance(current, list | None):
                raise InvalidConfig(
                    [
                        Fault(
                            origin,
                            dotted,
                            "'+=' appends a list to a list: key+=[value]",
                        )
                    ]
                )
            value = [*(current or []), *value]
        put(top, key, value, origin)
    return merge(layer, top) if assignments else layer


def _origins(config: RunConfig, layer: Layer) -> dict[str, str]:
    found = {}
    for dotted in flatten(config):
        written = layer.written(tuple(dotted.split(".")))
        found[dotted] = written.short if written else "default"
    return found


def _position(fault: Fault) -> tuple[int, str, int, int]:
    order = {"file": 0, "env": 1, "override": 2}[fault.origin.kind]
    return order, fault.origin.where, fault.origin.line, fault.origin.column
