"""Actors as plain objects in this process: for doubles and tests, where a thousand runs must not pay for a cluster.

Contract: that of `selfimprove.cluster`. ``submit`` runs the call at once and keeps its value or its exception.
``resources.environment`` is set before the object is built.

See it work: ``pytest tests/cluster/test_backends.py``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfimprove.cluster import Actor, Future, Resources


def load(spec: str) -> Any:
    """The object behind ``module:name``."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, eq=False)
class Done:
    """A call that has already run."""

    value: Any = None
    error: Exception | None = None

    def result(self, timeout_s: float | None = None) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class InlineActor:
    """An object with the face of an actor."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Future:
        try:
            return Done(getattr(self._target, method)(*args, **kwargs))
        except Exception as error:  # the wall of an actor: whatever was raised is the answer
            return Done(error=error)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._target, method)(*args, **kwargs)

    def kill(self) -> None:
        if hasattr(self._target, "close"):
            self._target.close()


class InlineBackend:
    """Everything in this process."""

    def start(self, spec: str, *args: Any, resources: Resources) -> Actor:
        os.environ.update(resources.environment)
        return InlineActor(load(spec)(*args))

    def wait(self, futures: Sequence[Future], timeout_s: float) -> list[Future]:
        return list(futures)

    def gpus(self) -> int:
        return 0

    def gpus_together(self) -> int:
        return 0

    def close(self) -> None:
        pass
