"""One interface, two implementations. Run: pytest tests/cluster"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from selfimprove.cluster import Backend, Resources
from selfimprove.cluster.inline import InlineBackend
from selfimprove.cluster.on_ray import RayBackend
from selfimprove.errors import CanaryError, EngineDead


class Counter:
    """An actor for the test."""

    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    def refuse(self) -> None:
        raise CanaryError("wrong weights", hint="look")

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


SPEC = f"{__name__}:Counter"


@pytest.fixture(scope="module", params=["inline", "ray"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    chosen: Backend = InlineBackend() if request.param == "inline" else RayBackend()
    yield chosen
    chosen.close()


def test_calls_run_in_order_and_return_values(backend: Backend) -> None:
    actor = backend.start(SPEC, 10, resources=Resources())
    futures = [actor.submit("add", amount) for amount in (1, 2, 3)]
    assert [future.result() for future in futures] == [11, 13, 16]
    assert actor.call("add", 4) == 20


def test_an_exception_comes_back_as_it_was_raised(backend: Backend) -> None:
    actor = backend.start(SPEC, 0, resources=Resources())
    with pytest.raises(CanaryError, match="wrong weights") as caught:
        actor.submit("refuse").result()
    assert caught.value.hint == "look" and caught.value.exit_code == 4


def test_the_environment_is_set_where_the_actor_runs(backend: Backend) -> None:
    actor = backend.start(SPEC, 0, resources=Resources(environment={"SELFIMPROVE_TEST": "here"}))
    assert actor.call("environment", "SELFIMPROVE_TEST") == "here"


def test_wait_returns_what_is_done(backend: Backend) -> None:
    actor, other = (backend.start(SPEC, 0, resources=Resources()) for _ in range(2))
    quick, slow = actor.submit("add", 1), other.submit("nap", 1.0)
    done = backend.wait([quick, slow], 30)
    assert quick in done
    while slow not in done:
        done = backend.wait([slow], 30)
    assert slow.result() == 1.0


def test_a_dead_process_is_an_engine_that_died() -> None:
    backend = RayBackend()
    try:
        actor = backend.start(SPEC, 0, resources=Resources())
        with pytest.raises(EngineDead, match="Counter died"):
            actor.call("die")
        with pytest.raises(EngineDead):
            actor.call("add", 1)
    finally:
        backend.close()
