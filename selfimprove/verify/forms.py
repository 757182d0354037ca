"""The forms a verifier may be written in, told apart by its source: what it is given, and how it is called.

Contract: `form_of` reads the source and imports nothing, so the process that drives a run knows whether a verifier
judges single samples, whole groups, or asks a model, before any worker exists. `load` imports it in the worker and
returns one callable for a sample or a group.

=======================  ==============================================================================
sample                   ``def name(problem, sample, **options)``, also ``async def``
group                    ``def name(problem, samples, **options) -> list``: all samples of one problem
class with state         ``__init__(self, **options)`` and ``__call__(self, problem, sample)`` (or ``samples``)
judge, asks a model      a class with ``questions(self, problem, samples)`` and
                         ``verdicts(self, problem, samples, replies)``
of another trainer       ``trl:``, ``verl:``, ``openrlhf:`` or ``verifiers:`` before the spec of its function
=======================  ==============================================================================

See it work: ``pytest tests/verify/test_forms.py``.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from selfimprove import plugins, sources
from selfimprove.errors import ConfigError
from selfimprove.verify.dialects import KINDS, adapted

Kind = Literal["sample", "group", "judge"]
SHAPE = "a verifier is `def name(problem, sample, **options) -> bool | float | Verdict`, or a class whose objects are"
DEFAULT_MEMORY_MB = 2048


@dataclass(frozen=True, slots=True)
class Form:
    """``kind`` says what is judged at once; ``concurrent`` that many samples may be judged at the same time."""

    kind: Kind = "sample"
    concurrent: bool = False
    memory_mb: int = DEFAULT_MEMORY_MB
    workers: int | None = None


def form_of(spec: str) -> Form:
    """What the source of ``spec`` says; what is neither a plain ``def`` nor a class there counts as a sample verifier.

    Module-level constants say what the configuration does not: ``MEMORY_MB``, how much address space its workers need,
    and ``WORKERS``, how many there should be (1 for what holds a model). ConfigError if there is no such verifier.
    """
    place = plugins.locate("verifier", spec)
    dialect = plugins.split_dialect(spec)[0]
    node = next((node for name, node in sources.top_level(place.file) if name == place.object), None)
    memory_mb = sources.constant(place.file, "MEMORY_MB") or DEFAULT_MEMORY_MB
    form = Form(KINDS[dialect]) if dialect else _form(node)
    return replace(form, memory_mb=memory_mb, workers=sources.constant(place.file, "WORKERS"))


def _form(node: ast.AST | None) -> Form:
    if isinstance(node, ast.ClassDef):
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)}
        if "questions" in methods:
            return Form("judge")
        call = methods.get("__call__")
        return Form() if call is None else _called(call, 2)
    return _called(node, 1) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else Form()


def _called(node: ast.FunctionDef | ast.AsyncFunctionDef, place: int) -> Form:
    """``place``: where the second argument of a call stands."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    kind: Kind = "group" if names[place : place + 1] == ["samples"] else "sample"
    return Form(kind, isinstance(node, ast.AsyncFunctionDef))


def load(spec: str, args: Mapping[str, Any]) -> Callable[..., Any]:
    """The verifier with its options bound: ``fn(problem, sample)`` or ``fn(problem, samples)``, maybe async.

    Raises ConfigError if it is missing, does not take the options, or is not of the form its source showed.
    """
    found = plugins.resolve("verifier", spec)
    if not callable(found):
        raise ConfigError(f"verifier {spec!r} is a {type(found).__name__}, not a function: {SHAPE}")
    dialect = plugins.split_dialect(spec)[0]
    if dialect:
        return adapted(dialect, found, args)
    form = form_of(spec)
    if form.kind == "judge":
        raise ConfigError(f"verifier {spec!r} asks a model: it judges in a run, not on its own")
    if isinstance(found, type):
        made = make(spec, found, args)
        if not callable(made):
            raise ConfigError(f"verifier {spec!r}: objects of the class cannot be called: define __call__; {SHAPE}")
        _check(spec, made, form, {})
        return made
    _check(spec, found, form, args)
    return partial(found, **args) if args else found


def make(spec: str, found: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    """An object of the class ``found``. Raises ConfigError for options that its ``__init__`` does not take."""
    try:
        inspect.signature(found).bind(**args)
    except ValueError:  # a class written in C may have no signature to check
        pass
    except TypeError as error:
        known = inspect.signature(found)
        raise ConfigError(f"verifier {spec!r}{known} with verifier.args {dict(args)}: {error}") from error
    return found(**args)


def _check(spec: str, function: Callable[..., Any], form: Form, args: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
        signature.bind(None, None, **args)
    except ValueError:  # a callable written in C may have no signature to check
        return
    except TypeError as error:
        raise ConfigError(f"verifier {spec!r}{signature} with verifier.args {dict(args)}: {error}; {SHAPE}") from error
    second = list(signature.parameters)[1:2]
    if (second == ["samples"]) != (form.kind == "group"):
        what = f"verifier {spec!r} judges groups, but its file does not show it"
        raise ConfigError(what, hint="name a `def` or a class that is written in that file")
