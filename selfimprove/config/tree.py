"""Plain values that remember where they were written, and how later layers change earlier ones.

Contract: a `Layer` is a mapping with an `Origin` for every key in it. `merge` is pure: mappings merge key by key,
anything else is replaced, and a mapping that names another recipe, verifier, model or source replaces the earlier
one whole, so that no option of the old one is left behind.

See it work: ``pytest tests/config/test_layers.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selfimprove.config.models import SHORTHANDS
from selfimprove.errors import ConfigError

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written. ``where`` is a file's name as shown to people, or the text of an override.

    ``line`` and ``column`` count from 1 (0 for what is in no file); relative paths are meant from ``base``.
    """

    kind: Literal["file", "override", "env"]
    where: str
    base: Path
    line: int = 0
    column: int = 0

    @property
    def location(self) -> str:
        """``file:line:column``, or the override's own text."""
        return f"{self.where}:{self.line}:{self.column}" if self.kind == "file" else self.where

    @property
    def short(self) -> str:
        """``file:line``, ``override`` or ``env``."""
        return f"{self.where}:{self.line}" if self.kind == "file" else self.kind


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a configuration."""

    origin: Origin
    key: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.origin.location, self.key, self.what) if part)


class InvalidConfig(ConfigError):
    """All that is wrong with a configuration, one line each: ``file:line:column: key: what``."""

    code = "config.invalid"

    def __init__(self, faults: Iterable[Fault], *, hint: str = "") -> None:
        unique = {str(fault): fault for fault in faults}
        self.faults = tuple(unique.values())
        super().__init__("\n".join(unique), hint=hint)

    @property
    def location(self) -> dict[str, Any]:
        """Where the first fault is: ``{file, line, column}`` or ``{text}`` for an override."""
        return locate(self.faults[0].origin)


def locate(origin: Origin) -> dict[str, Any]:
    """An origin as plain data for ``--json`` output."""
    if origin.kind != "file":
        return {"text": origin.where}
    return {"file": origin.where, "line": origin.line, "column": origin.column}


@dataclass(slots=True)
class Layer:
    """A nested mapping and the origin of each of its keys; ``root`` is where the mapping itself begins."""

    root: Origin
    value: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, Origin] = field(default_factory=dict)

    def origin(self, key: Key) -> Origin:
        """Where ``key`` was written, or the nearest mapping around it."""
        while key and key not in self.origins:
            key = key[:-1]
        return self.origins.get(key, self.root)

    def written(self, key: Key) -> Origin | None:
        """Where ``key`` itself, or the shorthand that stands for it, was written; None for a default."""
        if key in self.origins:
            return self.origins[key]
        parent = ".".join(map(str, key[:-1]))
        if key and SHORTHANDS.get(parent) == key[-1] and isinstance(get(self.value, key[:-1]), str):
            return self.origins.get(key[:-1])
        return None


def get(value: Any, key: Key) -> Any:
    """The value below nested mappings and lists, or None where there is none."""
    for part in key:
        listed = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not listed and not (isinstance(value, dict) and part in value):
            return None
        value = value[part]
    return value


def put(layer: Layer, key: Key, value: Any, origin: Origin) -> None:
    """Set one dotted key in place, making the mappings around it."""
    inner: Any = layer.value
    for depth, part in enumerate(key[:-1], start=1):
        if not isinstance(inner.get(part), dict):
            inner[part] = _expanded(inner.get(part), key[:depth])
            layer.origins.setdefault(key[:depth], origin)
        inner = inner[part]
    inner[key[-1]] = value
    _forget(layer, key)
    layer.origins.update({(*key, *below): origin for below in _keys(value)} | {key: origin})


def merge(base: Layer, over: Layer) -> Layer:
    """A new layer in which ``over`` wins."""
    result = Layer(over.root, copy.deepcopy(base.value), dict(base.origins))
    _merge_into(result, result.value, over, over.value, ())
    return result


def _merge_into(result: Layer, target: dict[Any, Any], over: Layer, source: dict[Any, Any], at: Key) -> None:
    for name, value in source.items():
        key: Key = (*at, name)
        old = target.get(name)
        if isinstance(value, dict) and not _renamed(old, value, key):
            if not isinstance(old, dict):
                target[name] = _expanded(old, key)
                if not target[name]:
                    _forget(result, key)
            _merge_into(result, target[name], over, value, key)
        else:
            target[name] = copy.deepcopy(value)
            _forget(result, key)
            result.origins.update({k: o for k, o in over.origins.items() if k[: len(key)] == key})
        result.origins[key] = over.origin(key)


def _renamed(old: Any, new: dict[Any, Any], key: Key) -> bool:
    """Whether ``new`` names another recipe, verifier, model or source than ``old`` does."""
    field_name = SHORTHANDS.get(".".join(map(str, key)))
    if field_name is None or old is None:
        return False
    before = old if isinstance(old, dict) else {field_name: old}
    names = {field_name, "build"} if field_name == "source" else {field_name}
    return any(name in new and new[name] != before.get(name) for name in names)


def _expanded(value: Any, key: Key) -> dict[str, Any]:
    """The mapping that a shorthand stands for; an empty one for anything else."""
    field_name = SHORTHANDS.get(".".join(map(str, key)))
    return {field_name: value} if field_name is not None and isinstance(value, str) else {}


def _forget(layer: Layer, key: Key) -> None:
    for known in [known for known in layer.origins if known[: len(key)] == key]:
        del layer.origins[known]


def _keys(value: Any) -> Iterator[Key]:
    """Keys of everything below ``value``."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, below in items:
        yield (name,)
        yield from ((name, *key) for key in _keys(below))
