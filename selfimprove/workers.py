"""The processes a run owns: sampling engines, verifier pools, the trainer.

Contract: processes start on first use, live across rounds and end with `Workers.close`. An engine always serves the
policy that `load` named last, also after it was replaced. On one shared GPU the engines give their memory back before
training (they are ended, and started again afterwards); the trainer ends after each training on a GPU and stays on a
CPU, so that its imports are paid once.

See it work: ``pytest tests/e2e``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.cluster import Actor, Backend, Future, Resources
from selfimprove.config import JudgeConfig, RunConfig
from selfimprove.control import Stop
from selfimprove.errors import EngineDead
from selfimprove.policies import is_address
from selfimprove.training import checkpoints, launch
from selfimprove.types import Policy, Problem, Sample, TrainRequest, TrainResult, Verdict
from selfimprove.verify import VerifierPool

SAMPLERS = {
    "vllm": "selfimprove.sampling.vllm:VLLMSampler",
    "endpoint": "selfimprove.sampling.endpoint:EndpointSampler",
    "apart": "selfimprove.sampling.apart:ApartSampler",
    "scripted": "selfimprove.sampling.scripted:ScriptedSampler",
    "recorded": "selfimprove.sampling.recorded:RecordedSampler",
}
TRAINERS = {
    "trl": "selfimprove.training.trl:TRLTrainer",
    "command": "selfimprove.training.command:CommandTrainer",
    "recording": "selfimprove.training.recording:RecordingTrainer",
}
DEFAULT_WINDOW = 512
LOOK_S = 1.0


class PoolHost:
    """A verifier pool with one call that gives work and takes results: what an actor needs."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._pool = VerifierPool(config)

    def check(self) -> dict[str, str]:
        """Load the verifier in a worker; its facts. ConfigError or PreconditionError if it cannot be loaded."""
        return self._pool.check()

    def exchange(
        self, chunks: Sequence[tuple[int, list[tuple[Problem, Sample]]]], timeout_s: float
    ) -> list[tuple[int, list[Verdict]]]:
        """Queue ``chunks`` and return what is judged by now, waiting at most ``timeout_s`` for the first."""
        for number, items in chunks:
            self._pool.submit(number, items)
        return self._pool.poll(timeout_s)

    def close(self) -> None:
        self._pool.close()


class Workers:
    """Starts, feeds and ends the processes of one run."""

    def __init__(self, config: RunConfig, backend: Backend) -> None:
        self.config, self.backend = config, backend
        self.samplers: list[Actor] = []
        self._engines: list[Actor] = []
        self._servers: dict[str, Actor] = {}
        self._asked: Policy | None = None
        self.restarts = 0
        self._loaded: Policy | None = None
        self._options: Mapping[str, Any] | None = None  # of the engines that run, if not the run's own
        self._preload: list[Future] = []
        self._pools: dict[str, Actor] = {}
        self._trainer: Actor | None = None
        sequences = int(config.sampling.engine.get("max_num_seqs", DEFAULT_WINDOW // 2))
        self.window = 2 * sequences

    # -- engines -----------------------------------------------------------------------------------------------

    def _start_sampler(self) -> Actor:
        sampling = self.config.sampling
        environment: dict[str, str] = {}
        if sampling.type == "vllm":
            from selfimprove.sampling.vllm import engine_environment

            environment = engine_environment(sampling.model_dump(), "cuda" if self.backend.gpus() else "cpu")
        gpus = sampling.tensor_parallel if self.backend.gpus() and sampling.type == "vllm" else 0
        own = {} if self._options is None else {"engine": dict(self._options)}
        arguments = ({**sampling.model_dump(), **own}, self.config.model.model_dump())
        kind = "apart" if sampling.python else sampling.type
        return self.backend.start(SAMPLERS[kind], *arguments, resources=Resources(gpus, environment))

    def preload(self, policy: Policy) -> None:
        """Begin to start the engines with ``policy`` while something else (a training) goes on."""
        if self._must_share() or self._options is not None:
            return
        self._start_samplers()
        if self._loaded is None and not self._preload:
            self._preload = [engine.submit("load", policy) for engine in self._engines]
            self._loaded = policy

    def _start_samplers(self) -> None:
        while len(self._engines) < self.config.sampling.engines:
            self._engines.append(self._start_sampler())

    def load(self, policy: Policy, options: Mapping[str, Any] | None = None) -> float:
        """Make every engine serve ``policy``; returns the seconds it took. CanaryError if it cannot be trusted.

        ``options`` stand in for ``sampling.engine``: engines with other ones are ended and built anew. A policy at a
        server's address is asked there, and the engines keep what they serve.
        """
        began, self._asked = time.monotonic(), policy
        if is_address(policy.source):
            self.samplers = [self._server(policy)]
            return time.monotonic() - began
        if options != self._options:
            self._release_engines()
            self._options = options
        self._start_samplers()
        self.samplers = self._engines
        for future in self._preload:
            future.result()
        self._preload = []
        if self._loaded is None or self._loaded.digest != policy.digest:
            canary = read_canary(policy)
            for future in [engine.submit("load", policy, canary=canary) for engine in self._engines]:
                future.result()
            self._loaded = policy
        return time.monotonic() - began

    def restart(self, engine: int, error: EngineDead) -> None:
        """Replace a dead engine by a new one with the same weights. EngineDead once too many have died."""
        self.restarts += 1
        if self.restarts > self.config.sampling.max_restarts:
            raise EngineDead(
                f"{error} ({self.restarts} times; sampling.max_restarts is {self.config.sampling.max_restarts})",
                hint="see the logs directory of the run; the same command continues from the last finished part",
            ) from error
        self.samplers[engine].kill()
        assert self._asked is not None
        if is_address(self._asked.source):
            del self._servers[self._asked.source]
            self.samplers[engine] = self._server(self._asked)
            return
        self.samplers[engine] = self._start_sampler()
        assert self._loaded is not None
        self.samplers[engine].call("load", self._loaded, canary=read_canary(self._loaded))

    def _server(self, policy: Policy) -> Actor:
        """Who asks the server at a policy's address."""
        if policy.source not in self._servers:
            told = self.config.sampling.model_dump()
            arguments: tuple[dict[str, Any], dict[str, Any]] = ({**told, "endpoint": told["endpoint"] or {}}, {})
            actor = self.backend.start(SAMPLERS["endpoint"], *arguments, resources=Resources())
            actor.call("load", policy)
            self._servers[policy.source] = actor
        return self._servers[policy.source]

    def abort(self) -> None:
        """Drop every request in flight, so that the next step starts from an empty engine."""
        for sampler in self.samplers:
            sampler.submit("abort")

    def _training_gpus(self) -> int:
        if self.config.training.type != "trl":
            return 0
        return launch.gpus(self.config.training.model_dump(), self.backend.gpus_together())

    def check(self) -> None:
        """Raise ConfigError now for a launched training that could not start later."""
        training = self.config.training.model_dump()
        if training["launch"] != "single":
            launch.plan(training, self._training_gpus())

    def _must_share(self) -> bool:
        """Whether trainer and engines cannot have their own GPUs."""
        gpus = self.backend.gpus()
        if self.config.sampling.type != "vllm":
            return False
        engines = self.config.sampling.engines * self.config.sampling.tensor_parallel
        return 0 < gpus < engines + max(1, self._training_gpus())

    def _release_engines(self) -> None:
        for engine in self._engines:
            engine.kill()
        self._engines, self.samplers, self._loaded, self._preload = [], [], None, []

    # -- verifiers ---------------------------------------------------------------------------------------------

    def pool(self, verifier: JudgeConfig) -> Actor:
        """The pool for ``verifier``; its worker processes live as long as the run."""
        key = verifier.model_dump_json()
        if key not in self._pools:
            resources = Resources(environment={"OMP_NUM_THREADS": "1"})
            pool = self.backend.start("selfimprove.workers:PoolHost", verifier.model_dump(), resources=resources)
            self._pools[key] = pool
        return self._pools[key]

    # -- trainer -----------------------------------------------------------------------------------------------

    def trainer(self) -> Actor:
        """The trainer process, started on first use."""
        if self._trainer is None:
            training = self.config.training
            environment: dict[str, str] = {}
            if training.type == "trl":
                from selfimprove.training.trl import trainer_environment

                environment = trainer_environment(training.model_dump())
            arguments = (training.model_dump(), self.config.model.model_dump())
            gpus = self._training_gpus()
            self._trainer = self.backend.start(
                TRAINERS[training.type], *arguments, resources=Resources(gpus, environment)
            )
        return self._trainer

    def warm(self) -> None:
        """Pay the trainer's imports now, beside the first sampling."""
        if self._keep_trainer():
            self.trainer().submit("warm")

    def train(self, request: TrainRequest, stop: Stop) -> TrainResult:
        """Run one training in the trainer process, which saves a checkpoint and stops if a stop is requested."""
        if self._must_share():
            self._release_engines()
        future = self.trainer().submit("train", request)
        told = not request.checkpoints
        while not self.backend.wait([future], LOOK_S):
            if stop.requested and not told:
                checkpoints.request_stop(request.checkpoints)
                told = True
        try:
            result: TrainResult = future.result()
        except EngineDead:
            self._trainer = None
            raise
        if not self._keep_trainer():
            self.trainer().kill()
            self._trainer = None
        return result

    def _keep_trainer(self) -> bool:
        process = self.config.training.process
        return process == "keep" or (process == "auto" and not self.backend.gpus())

    def close(self) -> None:
        """End every process."""
        others = [*self._servers.values(), *self._pools.values(), *([self._trainer] if self._trainer else [])]
        for actor in [*self._engines, *others]:
            actor.kill()
        self._engines, self.samplers, self._servers, self._pools, self._trainer = [], [], {}, {}, None
        self.backend.close()


def backend_of(config: RunConfig, folder: Path) -> Backend:
    """Ray or inline, as the configuration says; logs of processes go below ``folder``."""
    if config.cluster.backend == "inline":
        from selfimprove.cluster.inline import InlineBackend

        return InlineBackend()
    from selfimprove.cluster.on_ray import RayBackend

    return RayBackend(config.cluster.address, folder / "logs")


def read_canary(policy: Policy) -> dict[str, Any] | None:
    """What the trainer measured on the saved weights, or None for a policy that was not trained here."""
    if policy.parent is None:
        return None
    path = Path(policy.adapter or policy.source).parent / "canary.json"
    return json.loads(path.read_text()) if path.exists() else None
