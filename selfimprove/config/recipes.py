"""A recipe's options: what its dataclass allows, checked as strictly as everything else in a configuration.

Contract: options are the fields of the frozen dataclass that annotates the recipe's second parameter. Unknown names
and wrong types are faults with a position; the dataclass's own ValueErrors are faults of the whole mapping.

See it work: ``pytest tests/config/test_views.py``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, Required, get_type_hints

from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from selfimprove import plugins
from selfimprove.config.messages import faults, unknown
from selfimprove.config.models import RecipeConfig, RunConfig
from selfimprove.config.tree import Fault, Key, Layer
from selfimprove.errors import ConfigError

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=False)


def python_recipe_options(config: RunConfig, role: str = "recipe") -> Any:
    """The instance of its config dataclass that the recipe (or ``role="warmup"``) is called with."""
    chosen: RecipeConfig | None = getattr(config, role)
    if chosen is None:
        raise ConfigError(f"the configuration has no {role}")
    return _build(config_class(chosen.name), chosen.options)


def complete(name: str, options: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """The options with every default filled in, as plain data: what a resolved configuration stores."""
    cls = config_class(name, base)
    instance = _build(cls, options)
    values = {option.name: getattr(instance, option.name) for option in _options(cls)}
    return dict(_adapter(cls).dump_python(values, mode="json"))


def config_class(name: str, base: Path | None = None) -> type:
    """The config dataclass of the recipe that ``name`` names. Raises ConfigError if it has none."""
    cls = plugins.recipe_config_class(plugins.resolve("recipe", name, base))
    if any(option.name == "name" for option in _options(cls)):
        raise ConfigError(f"recipe {name!r}: an option cannot be called 'name'")
    return cls


def check(layer: Layer, key: Key, options: Mapping[str, Any]) -> list[Fault]:
    """Faults of the mapping at ``key``: ``options`` holds the recipe's name and its options."""
    origin = layer.origin((*key, "name"))
    given = {option: value for option, value in options.items() if option != "name"}
    try:
        cls = config_class(options["name"], origin.base)
        _build(cls, given)
    except ValidationError as error:
        known = [option.name for option in _options(cls)]
        found = [f for f in faults(error, layer, key, known) if not f.what.startswith("unknown key")]
        for option in given:
            if option not in known:
                place = layer.origin((*key, option))
                noun = f"option of recipe {options['name']!r}"
                found.append(
                    Fault(
                        place,
                        ".".join(map(str, (*key, option))),
                        unknown(option, known, noun),
                    )
                )
        return found
    except (ConfigError, ValueError) as error:
        from selfimprove.config.checks import explain

        what = explain(error) if isinstance(error, ConfigError) else str(error)
        return [Fault(origin, ".".join(map(str, key)), what)]
    return []


def _build(cls: type, options: Mapping[str, Any]) -> Any:
    return cls(**_adapter(cls).validate_json(json.dumps(dict(options))))


def _options(cls: type) -> list[dataclasses.Field[Any]]:
    return [option for option in dataclasses.fields(cls) if option.init]


def _adapter(cls: type) -> TypeAdapter[Any]:
    """Validates a mapping of options. Not the dataclass itself: pydantic takes no strictness for foreign ones."""
    try:
        hints = get_type_hints(cls, include_extras=True)
        shape = {option.name: _required(option)[hints[option.name]] for option in _options(cls)}
        described = TypedDict(cls.__name__, shape)  # type: ignore[misc]
        described.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]
        return TypeAdapter(described)
    except (NameError, PydanticSchemaGenerationError) as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"{cls.__name__}: an option has a type that a configuration cannot hold: {what}") from error


def _required(option: dataclasses.Field[Any]) -> Any:
    missing = option.default is dataclasses.MISSING and option.default_factory is dataclasses.MISSING
    return Required if missing else NotRequired
