"""Sampling from an OpenAI-compatible server that someone else runs.

Contract: the *policy* is asked by token ids and its samples' ids are the ones the server drew; a server that does not
return them is refused. Every parameter is sent, so that no default of the server's applies; each sample has a seed of
its own. New weights reach the server as adapters (vLLM's API) or through ``swap_command``, and must give the canary's
log-probabilities. A *judge or teacher* (a policy whose source is an address) is asked by messages and answers in text.

See it work: ``pytest tests/sampling/test_endpoint.py`` and, on a real vLLM server, ``pytest tests/e2e/test_server.py``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from selfimprove.errors import CanaryError, ConfigError, EngineDead, PreconditionError
from selfimprove.policies import is_address, split_address
from selfimprove.prompts import Rendered, conversation, template_kwargs
from selfimprove.sampling import PUMP_SAMPLES, PUMP_SECONDS, canary_figures
from selfimprove.sampling.server import PATIENCE_S, Server
from selfimprove.sampling.words import Completion, Flight, Words, sample
from selfimprove.types import Finish, Message, Policy, Sample, SampleRequest, SamplingParams, text_of

# vLLM takes what is not sent from the model's own generation settings.
NEUTRAL = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_p": 0.0, "min_tokens": 0}
OWNED = ("n", "seed", "stream", "model", "prompt", "messages", "echo")
TOO_LONG = ("maximum context length", "longer than the maximum", "context_length_exceeded")
ENDS: dict[str, Finish] = {"stop": "stop", "length": "length"}


class EndpointSampler:
    """A `Sampler` on a server. ``config`` is a `SamplingConfig`, ``model`` a `ModelConfig`, both as dictionaries."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> None:
        self._config, self._told = dict(config), dict(config.get("endpoint") or {})
        self._model = dict(model or {})
        self._words = Words(self._model)
        self._server: Server | None = None
        self._policy: Policy | None = None
        self._adapter = ""  # the name under which the server has the adapter that is served
        self._given: list[str] = []  # the names of all adapters that it was given
        self._base = ""
        self._threads = ThreadPoolExecutor(int(self._told.get("in_flight", 64)), thread_name_prefix="endpoint")
        self._pending: set[Future[Sample]] = set()

    # -- loading -----------------------------------------------------------------------------------------------

    def load(self, policy: Policy, *, canary: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `Sampler.load`. PreconditionError if the server does not return ids, or cannot take the weights."""
        self.abort()
        began, self._policy = time.monotonic(), None
        if is_address(policy.source):
            self._connect(*split_address(policy.source))
            self._policy = policy
            return {"seconds": {"swap": time.monotonic() - began}, "canary": None}
        server = self._connect(self._told["url"], self._told.get("model"))
        server.patience = PATIENCE_S
        self._words.read(policy.source)
        self._swap(server, policy)
        self._policy = policy
        if self._adapter or self._told.get("swap_command"):
            server.patience = 0.0  # another process at this address would not have these weights
        if canary is None:
            self._probe(server)
            return {"seconds": {"swap": time.monotonic() - began}, "canary": None}
        ids = list(canary["ids"])
        figures = canary_figures(canary, self._logprobs(ids), float(self._config.get("canary_tolerance", 0.1)))
        if not figures["passed"]:
            self._policy = None
            raise CanaryError(
                f"{server.url}: the server's log-probabilities differ from the trained weights' by "
                f"{figures['mean']:.3f} nats on average ({figures['positions']} tokens; sampling.canary_tolerance is "
                f"{figures['tolerance']})",
                hint="does it serve this run's base model, in a precision near the trainer's?",
            )
        return {"seconds": {"swap": time.monotonic() - began}, "canary": figures}

    def _connect(self, url: str, model: str | None) -> Server:
        if self._server is None or self._server.url != url.rstrip("/"):
            if self._server is not None:
                self._server.close()
            key = self._told.get("key_env", "OPENAI_API_KEY")
            seconds, parallel = float(self._told.get("timeout_s", 600.0)), int(self._told.get("in_flight", 64))
            self._server = Server(url, model, key, seconds, parallel)
            self._server.meet()
        return self._server

    def _swap(self, server: Server, policy: Policy) -> None:
        """Have the server serve ``policy``."""
        if self._told.get("swap_command"):
            server.model = self._command(policy) or server.model
            return
        if policy.adapter is None:
            if policy.parent is not None:
                raise ConfigError(
                    f"{server.url} cannot be given whole weights", hint="train an adapter, or set endpoint.swap_command"
                )
            self._check_base(server, policy.source)
            self._base, self._adapter = policy.source, ""
            return
        if self._base and policy.source != self._base:
            raise ConfigError(
                f"the adapter belongs to {policy.source}, and the server has {self._base}",
                hint="set training.adapter to fresh or continue, or endpoint.swap_command",
            )
        name = f"selfimprove-{policy.digest[:16]}"
        server.load_adapter(name, policy.adapter)
        self._adapter = name
        for before in [given for given in self._given if given != name]:
            server.unload_adapter(before)
        self._given = [name]

    def _check_base(self, server: Server, source: str) -> None:
        """ConfigError for a model that is not the one the server was started with: it would answer all the same."""
        own = self._model.get("source") or source
        fetched = "--".join(["models", *own.partition("@")[0].split("/")])
        mine = source == own or (not own.startswith("/") and fetched in source)
        if not mine or (self._base and source != self._base):
            raise ConfigError(
                f"{server.url} serves {self._base or own}, not {source}",
                hint="evaluate and judge with other models through `sampling.type: vllm`, or set endpoint.swap_command",
            )

    def _command(self, policy: Policy) -> str:
        """Run the user's command, which swaps the weights; the name it prints last, if it prints one."""
        told = {"source": policy.source, "adapter": policy.adapter, "digest": policy.digest, "url": self._told["url"]}
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(told, file)
        command = [*self._told["swap_command"], file.name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise PreconditionError(f"endpoint.swap_command: {command[0]!r} cannot be started: {error}") from error
        finally:
            Path(file.name).unlink(missing_ok=True)
        if done.returncode:
            last = " | ".join(done.stderr.strip().splitlines()[-3:])
            raise PreconditionError(f"endpoint.swap_command ended with exit code {done.returncode}: {last}")
        return (done.stdout.strip().splitlines() or [""])[-1].strip()

    def _probe(self, server: Server) -> None:
        """Whether the server speaks in ids."""
        body = {"prompt": [next(iter(self._words.end_ids), 0)], "max_tokens": 1, "temperature": 0.0}
        try:
            found = self._complete(server, {**body, "return_token_ids": True})
        except (ConfigError, PreconditionError) as error:
            raise PreconditionError(f"{server.url} cannot be trained from: {error}", hint=_IDS) from error
        if not found.get("token_ids"):
            raise PreconditionError(f"{server.url} returns no token ids, so it cannot be trained from", hint=_IDS)

    def _complete(self, server: Server, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = server.post("/completions", {"model": self._adapter or server.model, **body})
        except PreconditionError as error:
            if self._adapter:
                raise EngineDead(f"{server.url} has lost the adapter that it was given ({error})") from error
            raise
        return dict(answer["choices"][0])

    def _logprobs(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of every id given those before it (NaN for the first)."""
        server = self._serving[0]
        body = {"prompt": list(ids), "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, **self._salt()}
        found = self._complete(server, body).get("prompt_logprobs")
        if not found:
            raise PreconditionError(f"{server.url} gives no log-probabilities of a prompt", hint=_IDS)
        pairs = zip(ids[1:], found[1:], strict=True)
        return [float("nan"), *(float(chosen[str(token)]["logprob"]) for token, chosen in pairs)]

    def _salt(self) -> dict[str, Any]:
        """Prefixes that the server has cached under other weights are not to be used."""
        server, policy = self._serving
        return {"cache_salt": policy.digest} if server.is_vllm else {}

    @property
    def _serving(self) -> tuple[Server, Policy]:
        assert self._server is not None and self._policy is not None
        return self._server, self._policy

    def score(self, rows: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """As `Sampler.score`."""
        joined = list(self._threads.map(self._logprobs, [[*prompt, *completion] for prompt, completion in rows]))
        return [found[len(prompt) :] for (prompt, _), found in zip(rows, joined, strict=True)]

    # -- sampling ----------------------------------------------------------------------------------------------

    def pump(self, requests: list[SampleRequest], params: SamplingParams) -> tuple[list[Sample], int]:
        """As `Sampler.pump`."""
        for name in OWNED:
            if name in params.extra:
                raise ConfigError(f"sampling.params.{name}: set by the sampler itself, remove it")
        for request in requests:
            for index, seed in zip(request.indexes, request.seeds, strict=True):
                self._pending.add(self._threads.submit(self._one, request, index, seed, params))
        done: list[Sample] = []
        deadline = time.monotonic() + PUMP_SECONDS
        while self._pending and len(done) < PUMP_SAMPLES and time.monotonic() < deadline:
            finished, _ = wait(self._pending, max(0.0, deadline - time.monotonic()), FIRST_COMPLETED)
            self._pending -= finished
            done += [future.result() for future in finished]
        return done, len(self._pending)

    def _one(self, request: SampleRequest, index: int, seed: int, params: SamplingParams) -> Sample:
        """One sample; aborted if its prompt does not fit into the server's context."""
        policy = self._serving[1]
        by_text = is_address(policy.source)
        try:
            return (self._by_text if by_text else self._by_ids)(request, index, seed, params)
        except ConfigError as error:
            if not any(words in str(error) for words in TOO_LONG):
                raise
            prompt = Rendered(text_of(request.prompt), ()) if by_text else self._words.render(request)
            return sample(Flight(request, index, seed, prompt, params), policy.digest)

    def _by_ids(self, request: SampleRequest, index: int, seed: int, params: SamplingParams) -> Sample:
        server, policy = self._serving
        flight = Flight(request, index, seed, self._words.render(request), params)
        if params.score:
            return self._words.weighed(flight, self._logprobs(flight.prompt.ids), policy.digest)
        ends = list(params.extra.get("stop_token_ids", ()))
        ends += [] if params.extra.get("ignore_eos") else self._words.end_ids
        body = {**_parameters(params), "stop_token_ids": ends, "return_token_ids": True, **self._salt()}
        found = self._complete(server, {**body, "prompt": list(flight.prompt.ids), "seed": seed})
        by = found.get("stop_reason")
        logprobs = found["logprobs"]["token_logprobs"] if params.logprobs else None
        text, ends_by = found.get("text") or "", by if isinstance(by, str) else None
        drawn = Completion(tuple(found["token_ids"]), text, found.get("finish_reason"), ends_by, logprobs)
        return self._words.finished(flight, drawn, policy.digest)

    def _by_text(self, request: SampleRequest, index: int, seed: int, params: SamplingParams) -> Sample:
        """A judge or a teacher: there is no tokenizer here, so its samples have text and no ids."""
        server, policy = self._serving
        shown = text_of(request.prompt)
        flight = Flight(request, index, seed, Rendered(shown, ()), params)
        if params.score:
            return sample(flight, policy.digest, finish="stop", logprob=self._weigh(server, request))
        body = {"model": server.model, **_parameters(params, server.is_vllm), "seed": seed}
        if all(message.role == "text" for message in request.prompt):
            found = server.post("/completions", {**body, "prompt": shown + request.prefix})["choices"][0]
            text = found.get("text") or ""
        else:
            body |= _conversation(server, request.prompt)
            if request.prefix:
                _need_vllm(server, "continue a response that is begun for it")
                body["messages"].append({"role": "assistant", "content": request.prefix})
                body |= {"add_generation_prompt": False, "continue_final_message": True}
            found = server.post("/chat/completions", body)["choices"][0]
            text = (found.get("message") or {}).get("content") or ""
        return sample(flight, policy.digest, text, (), ENDS.get(found.get("finish_reason") or "", "abort"))

    def _weigh(self, server: Server, request: SampleRequest) -> float:
        """The log-probability of the request's prefix after its prompt."""
        _need_vllm(server, "weigh a text")
        if all(message.role == "text" for message in request.prompt):
            asked: dict[str, Any] = {"prompt": text_of(request.prompt)}
        else:
            asked = {**_conversation(server, request.prompt), "add_generation_prompt": True}
        before = server.tokenize(asked)
        after = server.tokenize({"prompt": request.prefix, "add_special_tokens": False})
        return sum(self._logprobs([*before, *after])[len(before) :])

    # -- ending ------------------------------------------------------------------------------------------------

    def partials(self, least: int) -> dict[str, list[int]]:
        """A server's samples come back whole."""
        return {}

    def abort(self) -> None:
        """Drop whatever is asked for; answers that still come are not looked at."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()

    def close(self) -> None:
        """Let the server go; an adapter that was loaded is taken away again."""
        self.abort()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._server is not None:
            for name in self._given:
                self._server.unload_adapter(name)
            self._server.close()


_IDS = "a server that answers in text alone can judge: verifier.policy takes its address"


def _parameters(params: SamplingParams, every: bool = True) -> dict[str, Any]:
    """``every``: also those that vLLM alone knows, at their neutral values."""
    found: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_tokens": params.max_tokens,
        "stop": list(params.stop),
    }
    if every:
        found |= {"top_k": params.top_k, **NEUTRAL}
    elif params.top_k > 0:
        found["top_k"] = params.top_k
    if params.logprobs:
        found["logprobs"] = 0
    return {**found, **params.extra}


def _conversation(server: Server, prompt: Sequence[Message]) -> dict[str, Any]:
    said, tools = conversation(prompt)
    told = template_kwargs(prompt) if server.is_vllm else {}
    return {
        "messages": said,
        **({"tools": tools} if tools else {}),
        **({"chat_template_kwargs": told} if told else {}),
    }


def _need_vllm(server: Server, what: str) -> None:
    if not server.is_vllm:
        raise ConfigError(f"{server.url} cannot {what}: only vLLM's server can", hint="let it answer in words")
