"""What a round costs beside sampling and training: load, swap, canary, save, commit, report.

Contract: a small quickstart (ReST-EM on sums, warm-up, gate, report split) through `execute` under Ray. A round's wall
time is the distance between two commit markers; from it are taken the seconds in which tokens were drawn (for the
attempt and for the gate) and in which the optimiser stepped, as the markers record them. All else is overhead.

See it work: ``python -m benchmarks overhead --pairs 1``.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Figure, Options, Result, fresh, say

ROUNDS = 4
CONFIG = {
    "model": {
        "build": "selfimprove.testing:tiny_llama",
        "args": {"hidden_size": 128, "layers": 3, "heads": 4, "max_position_embeddings": 32},
    },
    "data": {
        "problems": {"source": "arithmetic", "args": {"n": 1200, "seed": 0}},
        "demonstrations": {"source": "arithmetic", "args": {"n": 300, "seed": 1}},
        "gate": 100,
        "report": 100,
    },
    "warmup": {"name": "sft", "start": "initial", "args": {"max_steps": 40, "learning_rate": 2.0e-3}},
    "recipe": {
        "name": "rest_em",
        "samples": 4,
        "start": "previous",
        "carry": "accumulate",
        "demonstrations": True,
        "args": {"max_steps": 20, "learning_rate": 1.0e-3},
    },
    "verifier": "answer_match",
    "rounds": ROUNDS,
    "ask": "fresh",
    "problems_per_round": 200,
    "sampling": {"max_tokens": 6, "engine": {"max_model_len": 32}},
    "training": {"args": {"per_device_train_batch_size": 32}},
}


def measure(options: Options) -> Result:
    result = Result("overhead", notes=["median over all rounds after the first, and over all runs"])
    later: list[float] = []
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(1, options.pairs + 1):
        say(f"run {turn} of {options.pairs}: {ROUNDS} rounds")
        found = fresh(one)
        for number, causes in enumerate(found["rounds"], start=1):
            if number > 1:
                later.append(causes["overhead"])
                for cause, spent in causes.items():
                    parts[cause].append(spent)
            if turn == options.pairs:
                result.seconds[f"round {number} of the last run"] = causes
        result.seconds[f"whole run {turn}"] = found["whole"]
    result.figures.append(Figure("overhead of a round after the first", later, "< 2", "s"))
    result.seconds["median of the rounds after the first"] = {cause: median(runs) for cause, runs in parts.items()}
    return result


def one() -> dict[str, Any]:
    """One run in this process, and what its markers say."""
    from selfimprove.config import RunConfig
    from selfimprove.run import execute
    from selfimprove.store.files import RunFiles

    with tempfile.TemporaryDirectory(prefix="selfimprove-overhead-") as folder:
        began, wall = time.time(), time.perf_counter()
        execute(RunConfig.model_validate(CONFIG), Path(folder, "run"), progress="none")
        wall = time.perf_counter() - wall
        files = RunFiles(Path(folder, "run"))
        rounds = [round_causes(files, number) for number in range(1, ROUNDS + 1)]
        start = committed(files, "setup/base") - began
        end = files.local("FINISHED.json").stat().st_mtime - committed(files, f"rounds/{ROUNDS:03d}")
    spent = sum(causes["wall"] for causes in rounds)
    whole = {
        "wall": wall,
        "until the base is evaluated (processes, warm-up)": start,
        "rounds": spent,
        "report split": end,
        "end of processes": wall - start - spent - end,
    }
    return {"rounds": rounds, "whole": whole}


def committed(files: Any, key: str) -> float:
    """When (seconds since the epoch) the marker of a step was written."""
    return float(files.local(f"{key}/COMMITTED.json").stat().st_mtime)


def round_causes(files: Any, number: int, before: str | None = None) -> dict[str, float]:
    """A round's wall time by cause; ``overhead`` is what is neither sampling nor optimiser steps.

    The round began when the step ``before`` was committed: by default the round before it, or the base's evaluation.
    """
    key = f"rounds/{number:03d}"
    seconds = marker_seconds(files, key)
    trainer = marker_seconds(files, f"{key}/train/policy")
    before = before or ("setup/base" if number == 1 else f"rounds/{number - 1:03d}")
    wall = committed(files, key) - committed(files, before)
    useful = {
        "sampling": seconds.get("sample", 0.0),
        "evaluation sampling": seconds.get("evaluate", 0.0),
        "optimiser steps": trainer.get("train", 0.0),
    }
    causes = {
        "engine: start or swap, canary": seconds.get("load", 0.0),
        "last verdicts": seconds.get("verify", 0.0),
        "trainer: load": trainer.get("load", 0.0),
        "trainer: save": trainer.get("save", 0.0),
        "trainer: canary": trainer.get("canary", 0.0),
        "trainer: start, messages": seconds.get("train", 0.0) - sum(trainer.values()),
    }
    overhead = wall - sum(useful.values())
    rest = overhead - sum(causes.values())
    return {"overhead": overhead, "wall": wall, **useful, **causes, "commit, hash, select, decide": rest}


def marker_seconds(files: Any, key: str) -> dict[str, float]:
    """The seconds that a step's marker records."""
    from selfimprove.store.steps import read_marker

    marker = read_marker(files, f"{key}/COMMITTED.json")
    assert marker is not None, f"{key} is not committed"
    return dict(marker.seconds)
