"""Sampling engines: from requests to samples.

Contract: a `Sampler` serves one policy at a time. Requests go in with their ids and seeds given by the caller,
finished samples come out in any order, and the same request with the same seed gives the same tokens whatever
else is in flight. `selfimprove.sampling.vllm` holds the real engine, `selfimprove.sampling.endpoint` asks a
server, `selfimprove.sampling.scripted` is the double.

See it work: ``pytest tests/sampling``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from selfimprove.types import Policy, Sample, SampleRequest, SamplingParams

PUMP_SAMPLES = 256
PUMP_SECONDS = 0.2


class Sampler(Protocol):
    """What an engine process can do. Built where it runs, from the dictionaries of its configuration."""

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Serve ``policy`` from now on, dropping whatever is in flight.

        Returns ``{"seconds": {name: s}, "canary": figures or None}``. Raises CanaryError if the served weights do
        not give the canary's log-probabilities.
        """
        ...

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """Accept ``requests`` and run until `PUMP_SAMPLES` are finished, `PUMP_SECONDS` passed or nothing is left.

        Returns the finished samples and the number still in flight. A prompt that does not fit into the model's
        context gives samples with ``finish="abort"``, no tokens and no text.
        """
        ...

    def partials(self, least: int) -> dict[str, list[int]]:
        """What there is of the samples in flight that have ``least`` tokens or more, by sample id."""
        ...

    def abort(self) -> None:
        """Drop whatever is in flight, finished samples not yet returned included."""
        ...

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """The log-probability (nats) of every completion token, for rows of (prompt ids, completion ids)."""
        ...

    def close(self) -> None:
        """Give memory and processes back."""
        ...


def canary_figures(canary: Mapping[str, Any], served: Sequence[float], tolerance: float) -> dict[str, Any]:
    """How far ``served`` (one log-probability per id) is from the canary's, which belong to the last of its ids.

    Compares what both have: the engine serves no more positions than its context allows. Anything that is not a
    number does not pass.
    """
    expected = list(canary["logprobs"])
    skipped = len(canary["ids"]) - len(expected)
    errors = [abs(served[at] - expected[at - skipped]) for at in range(max(skipped, 1), len(served))]
    mean = sum(errors) / len(errors) if errors else math.nan
    return {
        "mean": mean,
        "max": max(errors, default=math.nan),
        "positions": len(errors),
        "tolerance": tolerance,
        "passed": mean <= tolerance,
    }
