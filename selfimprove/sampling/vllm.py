"""The real engine: vLLM inside this process (CPU) or behind it (GPU), one policy at a time.

Contract: one engine lives across rounds and only its weights are replaced; it is built anew when the architecture or
the vocabulary changes, or when the canary says that replacing went wrong. One request is one sample with its own
seed, so tokens do not depend on what else is in flight. Every prompt goes through `selfimprove.prompts`.
Constructing a `VLLMSampler` sets the engine's environment variables and nothing else; they must be set before torch
or vllm is imported, so a process that imports either first should be started with `engine_environment`.

See it work: ``pytest tests/sampling/test_vllm.py``.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.errors import CanaryError, ConfigError, PreconditionError
from selfimprove.prompts import Rendered, split_revision
from selfimprove.sampling import PUMP_SAMPLES, PUMP_SECONDS, canary_figures
from selfimprove.sampling.adapters import merge
from selfimprove.sampling.options import (
    check_names,
    engine_environment,
    engine_options,
    installed_device,
    native_params,
    scoring_params,
)
from selfimprove.sampling.words import Completion, Flight, Words, sample
from selfimprove.store.digest import seed_of
from selfimprove.types import Policy, Sample, SampleRequest, SamplingParams

__all__ = ["VLLMSampler", "engine_environment"]

# What may differ between two checkpoints that one engine can serve: trainers write some of these.
NOISE = (
    "transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


class VLLMSampler:
    """A `Sampler` on vLLM. ``config`` is a `SamplingConfig`, ``model`` a `ModelConfig`, both as dictionaries."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        self._config, self._model = dict(config), dict(model or {})
        self._words = Words(self._model)
        self._device = installed_device()
        os.environ.update(engine_environment(self._config, self._device))
        self._engine: Any = None
        self._policy: Policy | None = None
        self._architecture: dict[str, Any] = {}
        self._merged: str | None = None
        self._limit = 0
        self._template: tuple[SamplingParams, Any] | None = None
        self._counter = 0
        self._flights: dict[str, Flight] = {}
        self._done: list[Sample] = []
        self._scored: dict[str, list[float]] = {}
        self._refusals: tuple[type[Exception], ...] = ()

    # -- loading -----------------------------------------------------------------------------------------------

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `Sampler.load`. An adapter is merged into its base first, in a temporary directory of this sampler.

        A canary that fails after the weights were replaced costs one rebuild of the engine; one that fails then, or
        on a freshly built engine, is a CanaryError, after which nothing is served.
        """
        self.abort()
        seconds: dict[str, float] = {}
        began = time.monotonic()
        usable, self._policy = self._policy is not None, None  # a load that fails half-way leaves nothing to trust
        path = self._directory(policy)
        same = self._same_shape(path, policy)
        seconds["prepare"] = time.monotonic() - began
        rebuilt = not (usable and same)
        if rebuilt:
            self._build(path, policy, seconds)
        else:
            self._swap(path, policy, seconds)
        began = time.monotonic()
        figures = self._check(canary)
        if figures and not figures["passed"] and not rebuilt:
            self._build(path, policy, seconds)
            figures, rebuilt = self._check(canary), True
        seconds["canary"] = time.monotonic() - began
        if figures and not figures["passed"]:
            self.close()
            raise CanaryError(
                f"{policy.source}: the engine's log-probabilities differ from the trained weights' by "
                f"{figures['mean']:.3f} nats on average (largest {figures['max']:.3f}, {figures['positions']} tokens; "
                f"sampling.canary_tolerance is {figures['tolerance']})",
                hint="the engine may compute in a lower precision (sampling.dtype: float32), or the files are damaged",
            )
        return {"seconds": seconds, "canary": figures, "rebuilt": rebuilt}

    def _directory(self, policy: Policy) -> str:
        """Where plain weights of ``policy`` lie."""
        self._forget_merged()
        if policy.adapter is None:
            return policy.source
        self._merged = tempfile.mkdtemp(prefix="selfimprove-merged-")
        merge(policy.source, policy.adapter, self._merged, bool(self._model.get("trust_remote_code")))
        return self._merged

    def _forget_merged(self) -> None:
        if self._merged is not None:
            shutil.rmtree(self._merged, ignore_errors=True)
            self._merged = None

    def _same_shape(self, path: str, policy: Policy) -> bool:
        """Read what goes with the weights in ``path``; True if the running engine could take these weights."""
        same_words, self._template = self._words.read(policy.source), None
        before = self._architecture
        self._architecture = _architecture(path, bool(self._model.get("trust_remote_code")))
        return same_words and self._architecture == before and Path(path).is_dir()

    def _swap(self, path: str, policy: Policy, seconds: dict[str, float]) -> None:
        began = time.monotonic()
        self._engine.collective_rpc("replace_weights", args=(path,))
        if not self._engine.reset_prefix_cache():
            raise RuntimeError("the engine kept cached prefixes of the old weights")
        self._now_serving(policy)
        seconds["swap"] = time.monotonic() - began

    def _build(self, path: str, policy: Policy, seconds: dict[str, float]) -> None:
        self._shutdown()
        began = time.monotonic()
        try:
            from vllm import EngineArgs, LLMEngine
            from vllm.exceptions import VLLMValidationError
            from vllm.usage.usage_lib import UsageContext
        except ImportError as error:
            raise PreconditionError(
                f"sampling.type: vllm cannot be imported: {error}", hint="pip install 'selfimprove[cpu]' (or [gpu])"
            ) from error
        seconds["import"] = time.monotonic() - began
        self._refusals = (ValueError, VLLMValidationError)
        name, revision = split_revision(path)
        words, words_revision = split_revision(policy.source)
        options = engine_options(self._config, self._model, name, self._device)
        options = {"tokenizer": words, "revision": revision, "tokenizer_revision": words_revision} | options
        check_names(options, EngineArgs.__dataclass_fields__, "sampling.engine", "EngineArgs")
        began = time.monotonic()
        gc.freeze()  # vLLM collects garbage six times while it builds: spare it everything imported so far
        try:
            arguments = EngineArgs(model=name, **options)
            # The context sets the default batch sizes: those of offline work are twice a server's.
            self._engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        except (*self._refusals, RuntimeError) as error:  # vLLM says "unsupported" with a RuntimeError
            raise PreconditionError(f"{policy.source}: vLLM cannot serve this model: {error}") from error
        self._limit = int(self._engine.model_config.max_model_len)
        self._now_serving(policy)
        seconds["build"] = time.monotonic() - began

    @property
    def _serving(self) -> Policy:
        assert self._policy is not None
        return self._policy

    def _now_serving(self, policy: Policy) -> None:
        self._engine.set_weight_version(policy.digest)
        self._policy = policy

    # -- the canary --------------------------------------------------------------------------------------------

    def _check(self, canary: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if canary is None:
            return None
        (served,) = self._logprobs([list(canary["ids"])[: self._limit - 1]])
        return canary_figures(canary, served, float(self._config.get("canary_tolerance", 0.1)))

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """As `Sampler.score`. ConfigError for a row that is longer than the model's context."""
        joined = [[*prompt, *completion] for prompt, completion in rows]
        for number, ids in enumerate(joined):
            if len(ids) >= self._limit:
                raise ConfigError(f"row {number}: {len(ids)} tokens do not fit into a context of {self._limit}")
        served = self._logprobs(joined)
        return [found[len(prompt) :] for (prompt, _), found in zip(rows, served, strict=True)]

    def _logprobs(self, rows: list[list[int]]) -> list[list[float]]:
        """The log-probability of every id given those before it (NaN for the first)."""
        params = scoring_params()
        names = [self._submit(ids, params) for ids in rows]
        while not all(name in self._scored for name in names):
            self._step()
        return [self._scored.pop(name) for name in names]

    # -- sampling ----------------------------------------------------------------------------------------------

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """As `Sampler.pump`. ConfigError for parameters or a prompt that can never work, before any is accepted."""
        prompts = [self._words.render(request) for request in requests]
        for request, prompt in zip(requests, prompts, strict=True):
            self._accept(request, prompt, params)
        deadline = time.monotonic() + PUMP_SECONDS
        while self._flights and len(self._done) < PUMP_SAMPLES:
            self._step()
            if time.monotonic() > deadline:
                break
        done, self._done = self._done, []
        return done, len(self._flights)

    def _native(self, params: SamplingParams) -> Any:
        if self._template is None or self._template[0] != params:
            native = (
                scoring_params()
                if params.score
                else native_params(params, self._words.end_ids, self._words.decoder.fast)
            )
            self._template = params, native
        return self._template[1]

    def _accept(self, request: SampleRequest, prompt: Rendered, params: SamplingParams) -> None:
        native = self._native(params)
        fits = 0 < len(prompt.ids) < self._limit
        begun = request.begun or ((),) * len(request.indexes)
        for index, seed, kept in zip(request.indexes, request.seeds, begun, strict=True):
            before = kept if len(prompt.ids) + len(kept) < self._limit else ()
            flight = Flight(request, index, seed, prompt, params, before)
            if fits:
                # the engine copies the parameters of every request
                native.seed = seed_of(seed, len(before)) if before else seed
                if not params.score:
                    native.max_tokens = params.max_tokens - len(before)
                self._flights[self._submit([*prompt.ids, *before], native)] = flight
            else:
                self._done.append(sample(flight, self._serving.digest))

    def partials(self, least: int) -> dict[str, list[int]]:
        """As `Sampler.partials`."""
        found = {}
        states = self._engine.output_processor.request_states.values() if self._flights else ()
        for state in states:
            flight = self._flights.get(state.external_req_id)
            if flight is not None and state.detokenizer is not None and not flight.params.score:
                ids = [*flight.begun, *state.detokenizer.output_token_ids]
                if len(ids) >= least:
                    found[f"{flight.request.key}/{flight.number}"] = ids
        return found

    def _submit(self, ids: list[int], params: Any) -> str:
        self._counter += 1
        name = str(self._counter)
        try:
            self._engine.add_request(name, {"type": "token", "prompt_token_ids": ids}, params)
        except self._refusals as error:
            raise ConfigError(f"sampling: vLLM refuses the request: {error}") from error
        return name

    def _step(self) -> None:
        """One step of the engine; whatever finished goes to `_done` or `_scored`."""
        for output in self._engine.step():
            flight = self._flights.pop(output.request_id, None)
            if flight is not None and flight.params.score:
                self._done.append(self._words.weighed(flight, _prompt_logprobs(output), self._serving.digest))
            elif flight is not None:
                drawn = self._drawn(output.outputs[0], flight.params)
                self._done.append(self._words.finished(flight, drawn, self._serving.digest))
            elif output.prompt_logprobs is not None:
                self._scored[output.request_id] = _prompt_logprobs(output)

    def _drawn(self, output: Any, params: SamplingParams) -> Completion:
        ids = tuple(output.token_ids)
        by = output.stop_reason if isinstance(output.stop_reason, str) else None
        logprobs = None
        if params.logprobs:
            logprobs = [found[token].logprob for found, token in zip(output.logprobs, ids, strict=True)]
        return Completion(ids, output.text, output.finish_reason, by, logprobs)

    # -- ending ------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Drop whatever is in flight."""
        if self._flights:
            self._engine.abort_request(list(self._flights))
        self._flights.clear()
        self._done.clear()

    def close(self) -> None:
        """End the engine, give its memory back and delete merged weights. `load` may start it again."""
        self.abort()
        self._shutdown()
        self._forget_merged()

    def _shutdown(self) -> None:
        if self._engine is None:
            return
        self._engine.engine_core.shutdown()
        self._engine = self._policy = None
        gc.collect()


def _prompt_logprobs(output: Any) -> list[float]:
    """The log-probability of every id of a prompt given those before it (NaN for the first)."""
    found = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
    return [float("nan"), *(chosen[token].logprob for token, chosen in found)]


def _architecture(path: str, trust_remote_code: bool) -> dict[str, Any]:
    """The model's configuration without what may differ between two checkpoints of it."""
    from transformers import AutoConfig

    name, revision = split_revision(path)
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise PreconditionError(f"{path}: no model configuration could be read: {error}") from error
    return {key: value for key, value in config.to_dict().items() if key not in NOISE}
