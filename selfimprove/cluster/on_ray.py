"""Actors as Ray actors: on this machine, or on the cluster that ``address`` names.

Contract: that of `selfimprove.cluster`. A local Ray starts without a dashboard, bound to this machine, with a small
object store, and ends with this process. Actors reserve whole GPUs and no logical CPU. Restarts are ours: an actor
that dies is not restarted by Ray, because only we know which weights it must load.

See it work: ``pytest tests/cluster/test_backends.py``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfimprove.cluster import Actor, Future, Resources
from selfimprove.cluster.inline import load
from selfimprove.errors import EngineDead, PreconditionError

OBJECT_STORE_BYTES = 256 << 20
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class RayFuture:
    """A Ray object reference that raises our errors."""

    def __init__(self, reference: Any, spec: str) -> None:
        self.reference, self._spec = reference, spec

    def result(self, timeout_s: float | None = None) -> Any:
        import ray
        from ray import exceptions

        try:
            return ray.get(self.reference, timeout=timeout_s)
        except exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, Exception) else error) from error
        except exceptions.RayActorError as error:
            raise EngineDead(f"the process of {self._spec} died: {str(error).splitlines()[0]}") from error


class RayActor:
    """A handle on a Ray actor."""

    def __init__(self, handle: Any, spec: str) -> None:
        self._handle, self._spec = handle, spec

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Future:
        return RayFuture(getattr(self._handle, method).remote(*args, **kwargs), self._spec)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self.submit(method, *args, **kwargs).result()

    def kill(self) -> None:
        import ray

        ray.kill(self._handle, no_restart=True)


class RayBackend:
    """Ray, started here or joined at ``address``. ``logs`` receives the output of every process."""

    def __init__(self, address: str | None = None, logs: Path | None = None) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        self._owned = not ray.is_initialized()
        if not self._owned:
            return
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": True, "logging_level": "error"}
        if address is None:
            cpus = max(4, os.cpu_count() or 1)
            options |= {"include_dashboard": False, "num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES}
        try:
            ray.init(address=address or "local", **options)
        except ConnectionError as error:
            raise PreconditionError(
                f"cluster.address: no Ray cluster answers at {address!r} ({error})",
                hint="start one with `ray start --head`, or leave cluster.address out",
            ) from error

    def start(self, spec: str, *args: Any, resources: Resources) -> Actor:
        import ray

        options = {
            "num_cpus": 0,
            "num_gpus": resources.gpus,
            "max_restarts": 0,
            "runtime_env": {"env_vars": {**QUIET, **resources.environment}},
        }
        handle = ray.remote(load(spec)).options(**options).remote(*args)
        return RayActor(handle, spec)

    def wait(self, futures: Sequence[Future], timeout_s: float) -> list[Future]:
        import ray

        by_reference = {future.reference: future for future in futures if isinstance(future, RayFuture)}
        ready, _ = ray.wait(list(by_reference), num_returns=len(by_reference), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(by_reference), num_returns=1, timeout=timeout_s)
        return [by_reference[reference] for reference in ready]

    def gpus(self) -> int:
        import ray

        return int(ray.cluster_resources().get("GPU", 0))

    def gpus_together(self) -> int:
        import ray

        return max((int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)

    def close(self) -> None:
        import ray

        if self._owned:
            ray.shutdown()
