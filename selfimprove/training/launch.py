"""A training in processes of its own: several that share it, or one under another interpreter.

Contract: ``training.launch`` names how the processes share the work: ``ddp`` (each holds the model), ``fsdp2`` or
``zero3`` (each holds a shard), or a file that ``accelerate config`` wrote. They run on one node, started by
``accelerate launch``. Only paths, ids and numbers cross, as JSON, so ``training.python`` may be the interpreter of
another environment with the same release of this package. The first error of any process is the error of the training;
processes end with the one that started them.

See it work: ``pytest tests/training/test_launch.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, EngineDead, PreconditionError, revived
from selfimprove.processes import end_with_parent, environment_elsewhere
from selfimprove.types import Policy, TrainRequest, TrainResult

FOLDER, REQUEST, RESULT, ERROR, LOG = "launch", "request.json", "result.json", "error.json", "processes.log"
FSDP2 = {
    "fsdp_version": 2,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_offload_params": False,
}
ZERO3 = {"zero_stage": 3, "zero3_init_flag": True, "zero3_save_16bit_model": True}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "ddp": {"distributed_type": "MULTI_GPU"},
    "fsdp2": {"distributed_type": "FSDP", "fsdp_config": FSDP2},
    "zero3": {"distributed_type": "DEEPSPEED", "deepspeed_config": ZERO3},
}


def is_launched(config: Mapping[str, Any]) -> bool:
    """Whether the training part of a config asks for processes of their own."""
    inside = os.environ.get("SELFIMPROVE_RANK")
    return not inside and (config.get("launch", "single") != "single" or bool(config.get("python")))


def gpus(config: Mapping[str, Any], there: int) -> int:
    """How many GPUs a training takes where ``there`` are."""
    if not there or config.get("launch", "single") == "single":
        return min(there, 1)
    return min(there, _processes(config) or there)


def _processes(config: Mapping[str, Any]) -> int | None:
    """How many processes the config names, if it does."""
    if config.get("processes"):
        return int(config["processes"])
    return accelerate_file(config["launch"]).get("num_processes") if config["launch"] not in KINDS else None


def accelerate_file(path: str) -> dict[str, Any]:
    """A file of ``accelerate config``. ConfigError if it is none, or asks for more than one machine."""
    import yaml

    try:
        told = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"training.launch: {path} cannot be read: {error}") from error
    if not isinstance(told, dict) or "distributed_type" not in told:
        raise ConfigError(
            f"training.launch: {path} is no file of accelerate: it has no distributed_type",
            hint="write one with `accelerate config --config_file FILE.yaml`, or say single, ddp, fsdp2 or zero3",
        )
    if told.get("num_machines", 1) != 1:
        raise ConfigError(f"training.launch: {path} names {told['num_machines']} machines; a training runs on one")
    return told


def plan(config: Mapping[str, Any], devices: int) -> dict[str, Any]:
    """The file of accelerate for this training on a machine with ``devices`` GPUs. ConfigError if none can be made."""
    count = _processes(config) or devices
    if not count:
        raise ConfigError("training.processes: without a GPU, say how many processes share a training")
    if devices and count > devices:
        raise ConfigError(
            f"training.processes is {count}, but the trainer has {devices} GPUs",
            hint="lower training.processes, or leave it out: one process per GPU",
        )
    own = KINDS[config["launch"]] if config["launch"] in KINDS else accelerate_file(config["launch"])
    ours = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0, "main_process_port": 0}
    # the precision is training.dtype's, and Ray says which GPUs are ours
    ours |= {"mixed_precision": "no", "gpu_ids": "all", "num_processes": count, "use_cpu": not devices}
    return {**own, **ours}


def train(config: Mapping[str, Any], model: Mapping[str, Any], request: TrainRequest) -> TrainResult:
    """Run one training in processes of its own.

    Raises what a process raised; EngineDead with the last words of the log if they died without a word.
    """
    import torch
    import yaml

    folder = Path(request.output, FOLDER)
    folder.mkdir()
    told = {"config": dict(config), "model": dict(model), "request": dataclasses.asdict(request), "release": _release()}
    (folder / REQUEST).write_text(json.dumps(told, indent=1), encoding="utf-8")
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    command = [config.get("python") or sys.executable, "-m"]
    count = 1
    if config.get("launch", "single") != "single":
        planned = plan(config, devices)
        _check_installed(planned, config.get("python"))
        count = planned["num_processes"]
        (folder / "accelerate.yaml").write_text(yaml.safe_dump(planned), encoding="utf-8")
        command += ["accelerate.commands.launch", "--config_file", str(folder / "accelerate.yaml"), "-m"]
    code = _run(
        [*command, "selfimprove.training.rank", str(folder)], _environment(config, count, devices), folder / LOG
    )
    if (folder / ERROR).exists():
        raise _error(json.loads((folder / ERROR).read_text(encoding="utf-8")), folder)
    if code or not (folder / RESULT).exists():
        last = _last_words((folder / LOG).read_text(errors="replace"))
        raise EngineDead(
            f"the processes of the training ended with exit code {code}: {last}", hint=f"see {folder / LOG}"
        )
    return TrainResult(**json.loads((folder / RESULT).read_text(encoding="utf-8")))


def _check_installed(planned: Mapping[str, Any], python: str | None) -> None:
    import importlib.util

    needed = planned["distributed_type"] == "DEEPSPEED" and not python
    if needed and importlib.util.find_spec("deepspeed") is None:
        raise PreconditionError("training.launch: ZeRO needs DeepSpeed", hint="pip install 'selfimprove[zero]'")


def _release() -> str:
    from selfimprove import __version__

    return __version__


def _environment(config: Mapping[str, Any], count: int, devices: int) -> dict[str, str]:
    """Cores are shared out on a CPU; nothing of the interpreter that started us is handed on to another one."""
    cores = len(os.sched_getaffinity(0))
    threads = config.get("threads") or max(1, cores if devices else cores // count)
    told = environment_elsewhere() if config.get("python") else os.environ
    return {**told, "OMP_NUM_THREADS": str(threads), "SELFIMPROVE_RANK": "1"}


def _run(command: list[str], environment: dict[str, str], log: Path) -> int:
    """Run ``command`` to its end; it is ended with us, however we end, and ends its own processes then."""
    end = partial(end_with_parent, signal.SIGTERM, os.getpid())
    try:
        with log.open("wb") as words:
            process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, env=environment, preexec_fn=end)
    except OSError as error:
        raise PreconditionError(f"training.python: {command[0]!r} cannot be started: {error}") from error
    try:
        return process.wait()
    finally:
        process.terminate()


def _last_words(said: str) -> str:
    """The last error in a log, or else its last line."""
    errors_said = re.findall(r"^(?:\[rank\d+\]: ?)?([\w.]*(?:Error|Exception|Killed|Signal)\b.*)$", said, re.MULTILINE)
    lines = [line for line in said.splitlines() if line.strip("=- ")]
    named = [line for line in errors_said if "ChildFailedError" not in line]
    return (named or lines or ["not a word"])[-1]


def _error(told: Mapping[str, Any], folder: Path) -> Exception:
    if told.get("errno"):
        return OSError(told["errno"], told["message"])
    what = f"a process of the training failed: {told['type']}: {told['message']}"
    return revived(told) or EngineDead(what, hint=f"see {folder / LOG}")


def request_of(told: Mapping[str, Any]) -> TrainRequest:
    """A request as it was before it was written as JSON."""
    policies = {name: Policy(**told[name]) for name in ("start", "reference") if told[name]}
    return TrainRequest(**{**told, **policies})
