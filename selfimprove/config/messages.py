"""What pydantic found wrong, in words for people: what was expected, what was found, what was probably meant.

Contract: one `Fault` per wrong value, placed where the value was written. Nothing here decides what is wrong.

See it work: ``pytest tests/config/test_config_errors.py``.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from selfimprove.config.models import SHORTHANDS, RunConfig
from selfimprove.config.tree import Fault, Key, Layer
from selfimprove.plugins import suggest

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "none_required": "nothing (null)",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}


def faults(
    error: ValidationError,
    layer: Layer,
    at: Key = (),
    known: Iterable[str] | None = None,
) -> list[Fault]:
    """Every error as a fault, keys counted from ``at``.

    ``known`` lists the keys that exist where an unknown one was found; by default `RunConfig` is asked.
    """
    grouped: dict[Key, list[Any]] = {}
    for item in error.errors(include_url=False):
        grouped.setdefault(_key(item, layer, at), []).append(item)
    found = []
    for key, items in grouped.items():
        what = _unknown(key, known) if items[0]["type"] == "extra_forbidden" else _say_all(items, key)
        found.append(Fault(layer.origin(key), ".".join(map(str, key)), what))
    return found


def unknown(name: str, known: Iterable[str], noun: str = "key") -> str:
    """What to say of a name that is not among the known ones."""
    known = sorted(known)
    close = suggest(name, known)
    if close or not known:
        return f"unknown {noun}{close}"
    return f"unknown {noun} (known here: {', '.join(known)})" if len(known) <= 16 else f"unknown {noun}"


def show(value: Any) -> str:
    """A value as its writer would recognise it, on one short line."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@functools.cache
def keys_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Dotted key -> description of every key that a model knows, at any depth."""
    found: dict[str, str] = {}
    for name, info in model.model_fields.items():
        found[prefix + name] = info.description or ""
        inner = _model_in(info.annotation)
        if inner is not None and not _is_list(info.annotation):
            found |= keys_of(inner, f"{prefix}{name}.")
    return found


def model_at(key: Key) -> type[BaseModel] | None:
    """The model that describes the mapping at ``key`` of a `RunConfig`."""
    model: type[BaseModel] | None = RunConfig
    for part in key:
        if isinstance(part, int):
            continue  # an item of a list is described by the list's model
        info = model.model_fields.get(str(part)) if model else None
        model = _model_in(info.annotation) if info else None
    return model


def _is_list(annotation: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in (annotation, *typing.get_args(annotation)))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated, tuple):
        return next(
            (model for part in typing.get_args(annotation) if (model := _model_in(part))),
            None,
        )
    return None


def _key(item: Any, layer: Layer, at: Key) -> Key:
    """Where the error is, without the names of union members that pydantic adds."""
    value: Any = layer.value
    for part in at:
        value = value.get(part) if isinstance(value, dict) else None
    key = at
    parts = item["loc"]
    for index, part in enumerate(parts):
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (item["type"] == "missing" and index == len(parts) - 1):
            key = (*key, part)
    return key


def _unknown(key: Key, known: Iterable[str] | None) -> str:
    name = str(key[-1])
    if known is not None:
        return unknown(name, known)
    model = model_at(key[:-1])
    siblings = list(model.model_fields) if model else []
    if not suggest(name, siblings):
        elsewhere = [dotted for dotted in keys_of(RunConfig) if dotted.rpartition(".")[2] == name]
        if elsewhere:
            return f"unknown key - did you mean {' or '.join(map(repr, elsewhere))}?"
    return unknown(name, siblings)


def _say_all(items: list[Any], key: Key) -> str:
    """One sentence for all that can be said of one value: the members of a union each say what they expected."""
    expected = [_EXPECTED[item["type"]] for item in items if item["type"] in _EXPECTED]
    if ".".join(map(str, key)) in SHORTHANDS:
        expected = ["text or a mapping" if word == "a mapping" else word for word in expected]
    if len(expected) < len(items):
        said = [_say(item, key) for item in items if item["type"] not in _EXPECTED]
        return "; ".join(dict.fromkeys(said))
    value = items[0]["input"]
    return f"expected {' or '.join(dict.fromkeys(expected))}, got {show(value)}{_remedy(value, expected)}"


def _remedy(value: Any, expected: list[str]) -> str:
    if isinstance(value, str) and expected[0] in ("a number", "a whole number") and _is_number(value):
        return " (remove the quotes)"
    if isinstance(value, str) and expected == ["true or false"] and value.lower() in ("yes", "on", "no", "off"):
        return f" - did you mean {'true' if value.lower() in ('yes', 'on') else 'false'}?"
    if "text" in expected and isinstance(value, bool | int | float):
        return " (quote it)"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _say(item: Any, key: Key) -> str:
    kind, value, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"must be {word} {context[bound]:g}, got {show(value)}"
    said: dict[str, Callable[[], str]] = {
        "missing": lambda: _missing(key),
        "literal_error": lambda: _choice(value, context["expected"]),
        "finite_number": lambda: f"must be a finite number, got {show(value)}",
        "string_too_short": lambda: "must not be empty",
    }
    return said[kind]() if kind in said else str(item["msg"])


def _missing(key: Key) -> str:
    description = keys_of(RunConfig).get(".".join(map(str, key)), "")
    return f"required{': ' if description else ''}{description}"


def _choice(value: Any, expected: str) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    close = suggest(value, choices) if isinstance(value, str) else ""
    return f"expected {expected}, got {show(value)}{close}"
