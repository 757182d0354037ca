"""A million scripted samples through attempt and select: what everything costs that is not a model.

Contract: 8 samples a problem, judged by the no-op verifier in a worker process, every part written, hashed, synced and
committed as in any run, then read back and selected from. Once with everything in one process but the verifiers
(inline), once under Ray with its processes counted. Memory is the peak of the summed proportional set sizes.

See it work: ``python -m benchmarks million --samples 20000``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.common import Figure, Options, Result, Stopwatch, driver_causes, fresh, run_context, say

PER_GROUP = 8
SAMPLES = 1_000_000
TARGETS = {"inline": ">= 20,000", "ray": ">= 10,000"}


def answer(messages: Any, index: int, seed: int, policy: str) -> str:
    """The scripted policy: four different short answers a problem."""
    return f"It is {index % 4}, or so it seems."


def measure(options: Options) -> Result:
    samples = options.samples or SAMPLES
    result = Result("million", notes=[f"{samples:,} samples, {PER_GROUP} a problem, verifier none"])
    for backend in ("inline", "ray"):
        say(f"{samples:,} samples, {backend}")
        found = fresh(one, samples, backend)
        rate = Figure(f"attempt + select, {backend}", [samples / found["total"]], TARGETS[backend], "samples/s")
        attempt = Figure(f"attempt alone, {backend}", [samples / found["attempt"]], "", "samples/s")
        memory_mb = Figure(f"peak of summed PSS, {backend}", [found["peak"]], "< 1,000", "MB")
        result.figures += [rate, attempt, memory_mb]
        result.seconds |= {f"seconds, {backend}": found["seconds"], f"MB at the end, {backend}": found["processes"]}
        result.notes.append(f"{backend}: {found['kept']:,} kept of {found['seen']:,}, {found['parts']} parts")
    return result


def one(samples: int, backend: str) -> dict[str, Any]:
    """One whole run in this process."""
    with tempfile.TemporaryDirectory(prefix="selfimprove-million-") as folder, memory.peak() as peaks:
        found = _run(samples, backend, Path(folder))
    return {**found, "peak": peaks[0]}


def _run(samples: int, backend: str, folder: Path) -> dict[str, Any]:
    from selfimprove.control import spare_collector
    from selfimprove.data import load
    from selfimprove.round import Round
    from selfimprove.run import named
    from selfimprove.select import demonstrations, passed
    from selfimprove.types import Policy

    spare_collector()  # as a run does
    problems = load("benchmarks.million:problems", {"n": -(-samples // PER_GROUP)})
    policy = Policy(str(folder), "scripted")
    watch = Stopwatch()
    with run_context(settings(backend), folder / "run", problems) as context, watch.on(causes()):
        context.workers.pool(context.config.verifier).call("check")
        context.workers.load(policy)
        round_ = Round(1, policy, named(policy), problems, context)
        watch.seconds.clear()
        began = time.perf_counter()
        groups = round_.attempt(n=PER_GROUP)
        attempted = time.perf_counter() - began
        selection = demonstrations(groups, passed())
        for _ in selection:
            pass
        total = time.perf_counter() - began
        watch.seconds["select (without reading)"] = total - attempted - watch.seconds["reading parts"]
        processes = memory.by_name(memory.tree(os.getpid(), 0))
        parts = len(groups.samples.parts)
    tally = selection.tally
    return {
        "attempt": attempted,
        "total": total,
        "seconds": watch.table(total),
        "processes": processes,
        "kept": tally.kept,
        "seen": tally.seen,
        "parts": parts,
    }


def settings(backend: str) -> Mapping[str, Any]:
    return {
        "model": {"source": "scripted"},
        "data": {"problems": "arithmetic"},
        "recipe": "rest_em",
        "verifier": "none",
        "sampling": {"type": "scripted", "script": "benchmarks.million:answer"},
        "training": {"type": "recording"},
        "cluster": {"backend": backend},
    }


def causes() -> dict[str, list[tuple[Any, str]]]:
    """The driver's work by cause; inline the sampler and the pool's side of the wire are in the same process."""
    from selfimprove.sampling import scripted
    from selfimprove.store import tables
    from selfimprove.workers import PoolHost

    return {
        **driver_causes(),
        "sampler": [(scripted.ScriptedSampler, "pump")],
        "wire to verifier": [(PoolHost, "exchange")],
        "reading parts": [(tables, "read"), (tables, "samples_of"), (tables, "verdicts_of")],
    }


def problems(n: int, seed: int = 0) -> Any:
    """``n`` distinct questions of forty characters."""
    for number in range(n):
        yield {"prompt": f"What is the last digit of {number:09d}?", "answer": str(number % 10)}
