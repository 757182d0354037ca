"""Where processes run: one small interface with two implementations, Ray and inline.

Contract: a backend starts an actor from the *spec* of its class (``module:Class``) and plain arguments; the object
is built where it runs. ``submit`` returns a future at once, ``wait`` returns the futures that are done. A call's own
exception comes back as it was raised; a dead process raises `EngineDead`. `InlineBackend` runs every call in this
process when it is submitted, and does not import Ray.

See it work: ``pytest tests/cluster``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Resources:
    """What an actor reserves: whole GPUs. CPU stages reserve nothing, so that none waits for another."""

    gpus: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


class Future(Protocol):
    """The result of one call, sooner or later."""

    def result(self, timeout_s: float | None = None) -> Any:
        """The call's value; raises what the call raised, or EngineDead."""


class Actor(Protocol):
    """A process (or an object) that owns a resource and answers calls in the order they were submitted."""

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Future: ...

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...

    def kill(self) -> None: ...


class Backend(Protocol):
    """Starts actors and waits for their answers."""

    def start(self, spec: str, *args: Any, resources: Resources) -> Actor: ...

    def wait(self, futures: Sequence[Future], timeout_s: float) -> list[Future]: ...

    def gpus(self) -> int: ...

    def gpus_together(self) -> int:
        """The most GPUs that one machine has."""

    def close(self) -> None: ...
