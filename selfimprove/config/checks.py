"""What a configuration refers to: do the files, plugins and options that it names exist?

Contract: works on the raw tree, before validation, so that all faults are reported together. Verifiers, generators
and builders are looked up in their sources and never imported; a recipe's file is imported, because the dataclass
in it says which options there are. `anchor` then makes every path absolute.

See it work: ``pytest tests/config/test_config_errors.py`` and ``selfimprove config validate CONFIG``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove import plugins, sources
from selfimprove.config import native, recipes
from selfimprove.config.machinery import LAUNCH_FILES, LAUNCHES
from selfimprove.config.messages import unknown
from selfimprove.config.models import POLICIES, RULES
from selfimprove.config.tree import Fault, Key, Layer, get
from selfimprove.errors import ConfigError

DATA_FILES = (".jsonl", ".jsonl.gz", ".parquet", ".csv")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A key that names a function, the key of its arguments, and how many parameters the engine fills in."""

    key: Key
    field: str
    kind: str
    args: str = ""
    given: int = 0


_PLUGINS = (
    _Plugin(("verifier",), "name", "verifier", "args", 2),
    _Plugin(("model",), "build", "model", "args", 1),
    _Plugin(("sampling",), "script", "script"),
    _Plugin(("data", "problems"), "source", "problems", "args"),
    _Plugin(("data", "demonstrations"), "source", "problems", "args"),
)


def check(layer: Layer) -> list[Fault]:
    """Every fault that pydantic cannot see."""
    found = [*_recipes(layer), *native.check(layer), *_model(layer), *_training(layer)]
    for plugin in (*_PLUGINS, *_combined(layer), *_mixed(layer)):
        key, value = _named(layer, plugin.key, plugin.field)
        if isinstance(value, str) and value:
            is_file = plugin.kind == "problems" and names_file(value)
            found += _data_file(layer, key, value) if is_file else _function(layer, plugin, key, value)
    return found


def anchor(layer: Layer) -> None:
    """Make every path in the layer absolute, in place: relative ones are meant from the file that names them."""
    several = (*_PLUGINS, *_combined(layer), *_mixed(layer))
    spots: list[tuple[Key, str]] = [(plugin.key, plugin.field) for plugin in several]
    for spot, name in [*spots, (("recipe",), "name"), (("warmup",), "name")]:
        _replace(layer, spot, name, _absolute_spec)
    _replace(layer, ("model",), "source", _absolute_model)
    _replace(layer, ("model",), "chat_template", _join)
    _replace(layer, ("sampling",), "samples", _join)
    _replace(layer, ("training",), "launch", _absolute_launch)
    _replace(layer, ("training",), "python", _absolute_python)
    _replace(layer, ("sampling",), "python", _absolute_python)
    for spot in [("verifier",), *(plugin.key for plugin in _combined(layer))]:
        _replace(layer, spot, "policy", _absolute_policy)


def _combined(layer: Layer) -> list[_Plugin]:
    """The verifiers that are combined, each where it is written."""
    found = []
    for rule in RULES:
        listed = get(layer.value, ("verifier", rule))
        for place in range(len(listed) if isinstance(listed, list) else 0):
            found.append(_Plugin(("verifier", rule, place), "name", "verifier", "args", 2))
    return found


def _mixed(layer: Layer) -> list[_Plugin]:
    """The sources of problems that are mixed, each where it is written."""
    listed = get(layer.value, ("data", "sources"))
    places = range(len(listed) if isinstance(listed, list) else 0)
    return [_Plugin(("data", "sources", place), "source", "problems", "args") for place in places]


def names_file(source: str) -> bool:
    """Whether a data source is a file: not a bare name, and not ``file.py:generator``."""
    return source.lower().endswith(DATA_FILES) or not (source.isidentifier() or ":" in source)


def _recipes(layer: Layer) -> Iterator[Fault]:
    for role in ("recipe", "warmup"):
        value = get(layer.value, (role,))
        options: Mapping[str, Any] = value if isinstance(value, dict) else {"name": value}
        if isinstance(options.get("name"), str) and options["name"]:
            yield from recipes.check(layer, (role,), options)


def _function(layer: Layer, plugin: _Plugin, key: Key, spec: str) -> Iterator[Fault]:
    origin = layer.origin(key)
    try:
        place = plugins.locate(plugin.kind, spec, origin.base)
        listed = sources.parameters(place.file, place.object)
    except ConfigError as error:
        yield Fault(origin, ".".join(map(str, key)), explain(error))
        return
    if listed is None or not plugin.args:
        return
    parameters, takes_any = listed
    given = 1 if sources.is_class(place.file, place.object) else plugin.given  # a class is given its object alone
    args = get(layer.value, (*plugin.key, plugin.args))
    for name in args if isinstance(args, dict) and not takes_any else ():
        if name not in parameters[given:]:
            at = (*plugin.key, plugin.args, name)
            what = unknown(name, parameters[given:], f"argument of {spec!r}")
            yield Fault(layer.origin(at), ".".join(map(str, at)), what)


def _model(layer: Layer) -> Iterator[Fault]:
    key, source = _named(layer, ("model",), "source")
    origin = layer.origin(key)
    if isinstance(source, str) and source and not _HUB_ID.fullmatch(source) and not _path(source, origin.base).exists():
        looks = "" if source.startswith(("/", ".", "~")) else ", and a model on the hub is written org/name"
        yield Fault(
            origin,
            ".".join(map(str, key)),
            f"no directory {source!r}{_near(source, origin.base)}{looks}",
        )
    template = get(layer.value, ("model", "chat_template"))
    origin = layer.origin(("model", "chat_template"))
    if isinstance(template, str) and not _path(template, origin.base).is_file():
        yield Fault(
            origin,
            "model.chat_template",
            f"no file {template!r}{_near(template, origin.base)}",
        )


def _training(layer: Layer) -> Iterator[Fault]:
    """Files of the machine that trains: the launch file, and the interpreter."""
    launch = get(layer.value, ("training", "launch"))
    origin = layer.origin(("training", "launch"))
    is_file = isinstance(launch, str) and launch.lower().endswith(LAUNCH_FILES)
    if is_file and not _path(launch, origin.base).is_file():
        yield Fault(origin, "training.launch", f"no file {launch!r}{_near(launch, origin.base)}")
    for part in ("training", "sampling"):
        python = get(layer.value, (part, "python"))
        origin = layer.origin((part, "python"))
        if isinstance(python, str) and python and shutil.which(_absolute_python(python, origin.base)) is None:
            yield Fault(origin, f"{part}.python", f"no program {python!r}")


def _data_file(layer: Layer, key: Key, source: str) -> Iterator[Fault]:
    origin, dotted = layer.origin(key), ".".join(map(str, key))
    if not source.lower().endswith(DATA_FILES):
        yield Fault(
            origin,
            dotted,
            f"{source!r} is neither a generator's name nor a {', '.join(DATA_FILES)} file",
        )
    elif _path(source, origin.base).is_dir():
        yield Fault(origin, dotted, f"{source!r} is a directory; name one {', '.join(DATA_FILES)} file in it")
    elif not _path(source, origin.base).is_file():
        yield Fault(origin, dotted, f"no file {source!r}{_near(source, origin.base)}")


def explain(error: ConfigError) -> str:
    """An error and its hint on one line; a suggestion makes the hint (what else there is) needless."""
    text = str(error)
    return f"{text} ({error.hint})" if error.hint and "did you mean" not in text else text


def _named(layer: Layer, key: Key, name: str) -> tuple[Key, Any]:
    """The key and value of a field that may be written as its mapping's shorthand."""
    value = get(layer.value, key)
    if isinstance(value, str):
        return (key, value) if name != "build" else (key, None)
    return (*key, name), get(layer.value, (*key, name))


def _replace(layer: Layer, spot: Key, name: str, change: Any) -> None:
    holder, value = get(layer.value, spot[:-1]), get(layer.value, spot)
    base = layer.origin((*spot, name)).base
    if isinstance(value, str) and name in ("name", "source"):
        holder[spot[-1]] = change(value, base)
    elif isinstance(value, dict) and isinstance(value.get(name), str):
        value[name] = change(value[name], base)


def _absolute_spec(spec: str, base: Path) -> str:
    return str(_path(spec, base)) if spec.lower().endswith(DATA_FILES) else plugins.absolute(spec, base)


def _absolute_launch(launch: str, base: Path) -> str:
    return launch if launch in LAUNCHES else _join(launch, base)


def _absolute_python(python: str, base: Path) -> str:
    """An interpreter is a file, or a name to be found on the PATH; a link in an environment stays one."""
    return _join(python, base) if "/" in python else python


def _absolute_policy(policy: str, base: Path) -> str:
    return policy if policy in POLICIES or "://" in policy else _absolute_model(policy, base)


def _absolute_model(source: str, base: Path) -> str:
    path = _path(source, base)
    return str(path) if path.exists() or source.startswith(("/", ".", "~")) else source


def _join(text: str, base: Path) -> str:
    return str(_path(text, base))


def _path(text: str, base: Path) -> Path:
    return Path(os.path.abspath(base / Path(text).expanduser()))


def _near(text: str, base: Path) -> str:
    path = _path(text, base)
    if not path.parent.is_dir():
        return f" (there is no directory {str(Path(text).parent)!r})"
    return plugins.suggest(path.name, (entry.name for entry in path.parent.iterdir()))
