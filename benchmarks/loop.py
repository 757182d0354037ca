"""Three rounds as one command against two scripts a round, as the quick starts of vLLM and TRL teach.

Contract: the same start model and 200 prompts; a round draws 4 samples of at most 16 tokens for each prompt, keeps
those that ended by themselves, and trains 20 optimiser steps on them. No gate and no report split, because the scripts
have none: what `selfimprove` does beside is verdicts, digests, commits and the canary. Whole processes, start to end;
one untimed round of each first, so that all caches are warm. The scripts run (a) at their libraries' defaults and (b)
with our engine's and trainer's options and environment given to them.

On a CPU the defaults need two things to start at all, which both sides get as given here: ``VLLM_CPU_KVCACHE_SPACE=1``
(GiB; otherwise vLLM claims nearly all memory) and ``use_cpu=True`` in `SFTConfig`.

See it work: ``python -m benchmarks loop --pairs 1``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Options, Result, in_turns, ratios, say, timed
from benchmarks.overhead import committed, round_causes

ROUNDS = 3
PROBLEMS = 200
STEPS = 20
CONTEXT_TOKENS = 64
SCRIPTS = Path(__file__).parent / "scripts"
TARGETS = {"defaults": ">= 3", "our options": ">= 1.5"}


def measure(options: Options) -> Result:
    from selfimprove.data import load
    from selfimprove.testing import tiny_llama

    result = Result("loop", notes=[f"{ROUNDS} rounds of {PROBLEMS} x 4 samples x 16 tokens and {STEPS} steps"])
    with tempfile.TemporaryDirectory(prefix="selfimprove-loop-") as name:
        folder = Path(name)
        tiny_llama(f"{name}/start", max_position_embeddings=CONTEXT_TOKENS)
        problems = load("arithmetic", {"n": PROBLEMS})
        (folder / "prompts.txt").write_text("\n".join(problem.text for problem in problems))
        rows = ({"prompt": problem.text, "answer": problem.answer} for problem in problems)
        (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        kinds = {"defaults": Scripts(folder, defaults()), "our options": Scripts(folder, ours(f"{name}/start"))}
        say("one untimed round of each")
        Loop(folder, 1).run(0)
        for scripts in kinds.values():
            scripts.run(0, rounds=1)
        loop = Loop(folder)
        contestants: dict[str, Callable[[int], Any]] = {"selfimprove": loop.run}
        contestants |= {kind: scripts.run for kind, scripts in kinds.items()}
        seconds = in_turns(options.pairs, contestants)
        for kind, target in TARGETS.items():
            found = ratios(seconds[kind], seconds["selfimprove"])
            result.figures.append(Figure(f"two scripts a round, {kind} / selfimprove", found, target))
            result.seconds[f"scripts, {kind}, all {options.pairs} runs"] = kinds[kind].seconds
        result.figures += [Figure(name, found, "", "s") for name, found in seconds.items()]
        result.seconds |= loop.causes
    return result


class Loop:
    """``selfimprove run`` on the workload."""

    def __init__(self, folder: Path, rounds: int = ROUNDS) -> None:
        self.folder, self.rounds = folder, rounds
        self.causes: dict[str, Mapping[str, float]] = {}
        config = {
            "model": str(folder / "start"),
            "data": {"problems": str(folder / "problems.jsonl"), "gate": 0, "report": 0},
            "recipe": {
                "name": "rest_em",
                "samples": 4,
                "start": "previous",
                "args": {"max_steps": STEPS},
            },
            "verifier": "none",
            "rounds": rounds,
            "sampling": {"max_tokens": 16},
        }
        self.config = folder / f"config{rounds}.yaml"
        self.config.write_text(json.dumps(config))

    def run(self, turn: int) -> None:
        where = self.folder / "run"
        shutil.rmtree(where, ignore_errors=True)
        command = ["selfimprove", "run", str(self.config), "--run-dir", str(where), "--progress", "none"]
        call([str(Path(sys.executable).parent / command[0]), *command[1:]], self.folder, {})
        from selfimprove.store.files import RunFiles

        files = RunFiles(where)
        first = committed(files, "setup/model") - files.local("run.json").stat().st_mtime
        self.causes = {"selfimprove, last run": {"run begun until model is known": first}}
        for number in range(1, self.rounds + 1):
            before = "setup/model" if number == 1 else None
            self.causes[f"selfimprove, last run, round {number}"] = round_causes(files, number, before)


class Scripts:
    """Two fresh Python processes a round; ``environment`` is all that tells (a) from (b)."""

    def __init__(self, folder: Path, environment: Mapping[str, Mapping[str, str]]) -> None:
        self.folder, self.environment = folder, environment
        self.seconds = {"generate.py": 0.0, "train.py": 0.0}

    def run(self, turn: int, rounds: int = ROUNDS) -> None:
        work = self.folder / "scripts"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        model = self.folder / "start"
        if turn == 1:  # the untimed round came before
            self.seconds = dict.fromkeys(self.seconds, 0.0)
        for number in range(1, rounds + 1):
            rows, trained = work / f"rows{number}.jsonl", work / f"model{number}"
            self._script("generate.py", model, self.folder / "prompts.txt", rows)
            self._script("train.py", model, rows, trained)
            model = trained

    def _script(self, name: str, *args: Path) -> None:
        command = [sys.executable, str(SCRIPTS / name), *map(str, args)]
        self.seconds[name] += timed(partial(call, command, self.folder, self.environment[name]))


def call(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command, its output kept for when it fails."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode not in (0, 3):  # 3: no round was better, a normal end of a run
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def defaults() -> dict[str, dict[str, str]]:
    """Nothing but what it takes to start on a CPU."""
    return {"generate.py": {"VLLM_CPU_KVCACHE_SPACE": "1"}, "train.py": {}}


def ours(model: str) -> dict[str, dict[str, str]]:
    """Our options and environment, for scripts that stay as they are."""
    from selfimprove.config import SamplingConfig
    from selfimprove.sampling.options import engine_environment, engine_options, installed_device
    from selfimprove.training.trl import trainer_environment

    sampling, device = SamplingConfig().model_dump(), installed_device()
    engine: dict[str, Any] = engine_options(sampling, {}, model, device)
    training = {
        "gradient_checkpointing": device != "cpu",
        "dataloader_pin_memory": device != "cpu",
        "logging_steps": 0.05,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "max_length": None,
    }
    return {
        "generate.py": {**engine_environment(sampling, device), "ENGINE_OPTIONS": json.dumps(engine)},
        "train.py": {**trainer_environment({}), "TRAINING_OPTIONS": json.dumps(training)},
    }
