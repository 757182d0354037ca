"""A real engine in a process of its own, so that its environment variables and imports leave no trace in the tests'.

``Engine().call("load", policy)`` calls a method of one `VLLMSampler` there, ``Engine().run(function, *args)`` a
function of this module. Exceptions come back as they were.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from selfimprove.types import Message, Sample, SampleRequest, SamplingParams

TIMEOUT_S = 120.0


class Engine:
    """One `VLLMSampler` with the configuration ``config``, behind a pipe."""

    def __init__(self, config: dict[str, Any], model: dict[str, Any] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, config, model or {}), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._ask(method, args, kwargs)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._ask(function, args, kwargs)

    def _ask(self, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._pipe.send((what, args, kwargs))
        assert self._pipe.poll(TIMEOUT_S), "the engine's process does not answer"
        worked, answer = self._pipe.recv()
        if not worked:
            raise answer
        return answer

    def draw(self, requests: Sequence[SampleRequest], params: SamplingParams, at_once: int = 1000) -> list[Sample]:
        """All samples of ``requests``, at most ``at_once`` requests handed over per call, sorted by id."""
        waiting, samples, flying = list(requests), [], 0
        while waiting or flying:
            chunk, waiting = waiting[:at_once], waiting[at_once:]
            done, flying = self.call("pump", chunk, params)
            samples += done
        return sorted(samples, key=lambda sample: sample.id)

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, config: dict[str, Any], model: dict[str, Any]) -> None:
    from selfimprove.sampling.vllm import VLLMSampler

    sampler = VLLMSampler(config, model)
    while True:
        try:
            what, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            answer = getattr(sampler, what)(*args, **kwargs) if isinstance(what, str) else what(*args, **kwargs)
        except Exception as error:  # the wall of this process: the test that asked gets the error
            pipe.send((False, error))
        else:
            pipe.send((True, answer))


def request(key: str, text: str, n: int = 1, first_seed: int = 0, **fields: Any) -> SampleRequest:
    """``n`` samples of a plain text prompt, with consecutive seeds."""
    seeds = tuple(range(first_seed, first_seed + n))
    return SampleRequest(key, key, (Message("text", text),), tuple(range(n)), seeds, **fields)


def build(family: str, output: str, **options: Any) -> str:
    """A tiny model, written over there because that imports torch. Attention and outputs are made peaked, so that
    wrong weights show: an untouched random model says nearly the same about every token.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from selfimprove import testing

    getattr(testing, family)(output, **options)
    model = AutoModelForCausalLM.from_pretrained(output)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(4.0)
    model.save_pretrained(output)
    return output


def reference(path: str, rows: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: str | None = None) -> Any:
    """Log-probabilities of the completion tokens by a plain forward pass in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).eval()
    scores = []
    for prompt, completion in rows:
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            logprobs = model(ids).logits[0].log_softmax(-1)
        chosen = logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0]
        scores.append(chosen[len(prompt) - 1 :].tolist())
    return scores


def canary(path: str) -> dict[str, Any]:
    """What a trainer would store beside the weights in ``path``."""
    ids = [1, *range(10, 60)]
    return {"ids": ids, "prompt_len": 10, "logprobs": reference(path, [(ids[:10], ids[10:])])[0]}


def adapter(base: str, output: str) -> str:
    """A LoRA adapter that changes the model: PEFT's own start is a no-op."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(output)
    return output


def load_another(config: dict[str, Any], path: str) -> None:
    """A second engine in the same process."""
    from selfimprove.sampling.vllm import VLLMSampler
    from selfimprove.types import Policy

    VLLMSampler(config, {}).load(Policy(path, "another"))
