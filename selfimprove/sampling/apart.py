"""An engine under another interpreter: ``sampling.python`` names an environment of its own, with the same release.

Contract: a `Sampler` whose calls go as JSON, a line each way, to ``python -m selfimprove.sampling.host``; ids, texts
and paths cross, never pickles. What the other side raises is raised here; a process that is gone is EngineDead. It ends
when this side is gone.

See it work: ``pytest tests/sampling/test_apart.py``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from selfimprove.errors import EngineDead, PreconditionError, revived
from selfimprove.processes import environment_elsewhere
from selfimprove.types import Message, Policy, Sample, SampleRequest, SamplingParams, Turn


class ApartSampler:
    """A `Sampler` in a process of the interpreter ``config["python"]``."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        self._python, self._told = str(config["python"]), ({**config, "python": None}, dict(model or {}))
        self._process: subprocess.Popen[bytes] | None = None

    def _begin(self) -> None:
        """Start the process: not in the constructor, whose errors an actor cannot hand on."""
        from selfimprove import __version__

        try:
            self._process = subprocess.Popen(
                [self._python, "-m", "selfimprove.sampling.host"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment_elsewhere(),
            )
        except OSError as error:
            raise PreconditionError(f"sampling.python: {self._python!r} cannot be started: {error}") from error
        there = self._call("begin", *self._told)
        if there != __version__:
            self.close()
            raise PreconditionError(
                f"sampling.python has selfimprove {there}, this is {__version__}",
                hint="install the same release in both environments",
            )

    def _call(self, method: str, *args: Any, **named: Any) -> Any:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps({"method": method, "args": args, "named": named}, default=asdict) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            answer = b""
        if not answer:
            raise EngineDead(f"the process of {self._python} ended with exit code {self._process.wait()}")
        told = json.loads(answer)
        if "error" in told:
            raise _raised(told["error"])
        return told["value"]

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `Sampler.load`. PreconditionError if there is no such interpreter, or another release in it."""
        if self._process is None:
            self._begin()
        return dict(self._call("load", policy, canary=canary))

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """As `Sampler.pump`."""
        found, left = self._call("pump", requests, params)
        return [sample_of(told) for told in found], left

    def partials(self, least: int) -> dict[str, list[int]]:
        """As `Sampler.partials`."""
        return dict(self._call("partials", least))

    def abort(self) -> None:
        """As `Sampler.abort`."""
        if self._process is not None:
            self._call("abort")

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """As `Sampler.score`."""
        plain = [(list(prompt), list(completion)) for prompt, completion in rows]
        return list(self._call("score", plain))

    def close(self) -> None:
        """End the other process."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _raised(told: Mapping[str, str]) -> Exception:
    return revived(told) or EngineDead(f"the engine failed: {told['type']}: {told['message']}")


def sample_of(told: Mapping[str, Any]) -> Sample:
    """A sample as it was before it was written as JSON."""
    ids = {name: tuple(told[name]) for name in ("prompt_ids", "token_ids")}
    return Sample(**{**told, **ids, "turns": tuple(Turn(**turn) for turn in told["turns"])})


def request_of(told: Mapping[str, Any]) -> SampleRequest:
    """A request, likewise."""
    lists = {name: tuple(told[name]) for name in ("indexes", "seeds")}
    prompt = tuple(Message(**message) for message in told["prompt"])
    return SampleRequest(**{**told, **lists, "prompt": prompt, "begun": tuple(map(tuple, told["begun"]))})


def params_of(told: Mapping[str, Any]) -> SamplingParams:
    """Sampling parameters, likewise."""
    return SamplingParams(**{**told, "stop": tuple(told["stop"])})
