"""A tiny scripted project for kill tests: every step of a run, no heavy process, a log of every sample drawn."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path

CONFIG = """
model: {build: "selfimprove.testing:tiny_llama"}
data:
  problems: {source: arithmetic, args: {n: 60, operations: "+"}}
  demonstrations: {source: arithmetic, args: {n: 20, operations: "+", seed: 9}}
  gate: 10
  report: 10
warmup: {name: sft, start: initial}
recipe: {name: rest_em, samples: 4, cap: 2, carry: accumulate, demonstrations: true}
verifier: {name: answer_match, workers: 1}
rounds: 2
sampling: {type: scripted, script: "script.py:answer", part_samples: 32}
training: {type: recording}
cluster: {backend: inline}
"""

SCRIPT = '''
import os
from blake3 import blake3


def answer(messages, index, seed, policy):
    """Right one time in three, more often for later policies; every call is logged."""
    with open(os.environ["CALLS_LOG"], "a") as log:
        log.write(f"{seed}\\n")
    a, b = messages[-1].content.rstrip("=").split("+")
    dice = blake3(f"{seed}{policy}".encode()).digest()
    return str(int(a) + int(b)) if dice[0] % 3 == 0 else str(int(a) + int(b) + 1 + dice[1] % 7)
'''


def create(folder: Path) -> Path:
    """Write the project; returns its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "config.yaml"


def work(config: str, run_dir: str, environment: Mapping[str, str]) -> None:
    """One `selfimprove run` in this process; the exit code is the command's."""
    os.environ.update(environment)
    from selfimprove.config import load_config
    from selfimprove.errors import SelfImproveError
    from selfimprove.run import execute

    try:
        result = execute(load_config([Path(config)]), Path(run_dir), progress="none")
    except SelfImproveError as error:
        os._exit(error.exit_code)
    os._exit(result.exit_code)


def start(config: Path, run_dir: Path, calls: Path, **environment: str) -> multiprocessing.process.BaseProcess:
    """The same in a process of its own, forked from a server that has paid the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["selfimprove.run", "selfimprove.sampling.scripted", "pyarrow.parquet"])
    arguments = (str(config), str(run_dir), {"CALLS_LOG": str(calls), **environment})
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def seeds(calls: Path) -> list[int]:
    """The seeds of every sample drawn so far, in order."""
    return [int(line) for line in calls.read_text().split()] if calls.exists() else []
