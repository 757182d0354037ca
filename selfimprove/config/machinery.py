"""What a configuration may say about the machinery: sampling, training, evaluation, when to stop, where to run.

Contract: as in `selfimprove.config.models`. Native options (``args``, ``params``, ``engine``, ``lora``) keep the names
of the library they go to.

See it work: ``selfimprove config schema``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from selfimprove.config.strict import AtLeastOne, Count, Dtype, Share, Strict


class EndpointConfig(Strict):
    """An OpenAI-compatible server that serves the policy."""

    url: str = Field(pattern="^https?://", description="its address, with /v1")
    model: str | None = Field(default=None, min_length=1, description="the name it serves; null = the only one")
    key_env: str = Field(default="OPENAI_API_KEY", min_length=1, description="environment variable that holds the key")
    in_flight: AtLeastOne = Field(default=64, description="samples asked for at once")
    timeout_s: float = Field(default=600.0, gt=0, description="wall time for one sample")
    swap_command: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        default=None,
        min_length=1,
        description="program and arguments that make it serve other weights, given a JSON file besides; null = vLLM's "
        "own calls for adapters",
    )


class SamplingConfig(Strict):
    """How completions are drawn."""

    type: Literal["vllm", "endpoint", "scripted", "recorded"] = Field(
        default="vllm",
        description="endpoint = a server that is running already; scripted = a function of yours, for tests; recorded "
        "= samples made elsewhere",
    )
    endpoint: EndpointConfig | None = Field(default=None, description="the server of `type: endpoint`")
    script: str | None = Field(default=None, description="file.py:function of a scripted sampler")
    samples: str | None = Field(default=None, description="JSONL file of a recorded sampler")
    python: str | None = Field(
        default=None, min_length=1, description="interpreter of another environment that samples; null = this one"
    )
    engines: AtLeastOne = Field(default=1, description="engine processes that share the work")
    tensor_parallel: AtLeastOne = Field(default=1, description="devices that one engine spreads over")
    threads: AtLeastOne | None = Field(
        default=None, description="CPU threads of one engine; null = one on a CPU, vLLM's own choice beside a GPU"
    )
    dtype: Dtype = Field(default="auto", description="precision that the engine computes in")
    max_tokens: AtLeastOne = Field(default=256, description="new tokens of one completion at most")
    temperature: float = Field(default=1.0, ge=0, description="0 = greedy")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus sampling; 1 = off")
    top_k: int = Field(default=0, ge=-1, description="0 = off")
    stop: Annotated[tuple[str, ...], Field(strict=False)] = Field(default=(), description="texts that end a completion")
    params: dict[str, Any] = Field(
        default={},
        description="any other option of vLLM's SamplingParams, by its own name",
    )
    engine: dict[str, Any] = Field(default={}, description="any option of vLLM's EngineArgs, by its own name")
    part_samples: AtLeastOne = Field(default=1024, description="samples written as one durable part")
    keep_tokens_every: AtLeastOne | None = Field(
        default=None,
        description="write down the samples under way every so many tokens; a killed run goes on with them, which is "
        "another draw than an unbroken run's (they are marked; not with stop texts or penalties); null = never",
    )
    canary_tolerance: float = Field(
        default=0.1,
        gt=0,
        description="largest log-probability error of served weights, in nats",
    )
    max_restarts: Count = Field(default=3, description="how often a dead engine is started again")

    @model_validator(mode="after")
    def _script_goes_with_type(self) -> SamplingConfig:
        if (self.script is not None) != (self.type == "scripted"):
            raise PydanticCustomError("script", "'script' and 'type: scripted' go together")
        if (self.endpoint is not None) != (self.type == "endpoint"):
            raise PydanticCustomError("endpoint", "'endpoint' and 'type: endpoint' go together")
        if self.python and self.type not in ("vllm", "scripted"):
            raise PydanticCustomError("python", "'python' is for 'type: vllm'")
        if (self.samples is not None) != (self.type == "recorded"):
            raise PydanticCustomError("samples", "'samples' and 'type: recorded' go together")
        return self


LAUNCHES = ("single", "ddp", "fsdp2", "zero3")
LAUNCH_FILES = (".yaml", ".yml", ".json")


class TrainingConfig(Strict):
    """How the policy is finetuned."""

    type: Literal["trl", "command", "recording"] = Field(
        default="trl", description="command = any other trainer; recording = a double that trains nothing, for tests"
    )
    command: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        default=None, min_length=1, description="program and arguments of a trainer; it is given a JSON file besides"
    )
    args: dict[str, Any] = Field(
        default={},
        description="any option of TRL's SFTConfig or DPOConfig, by its own name",
    )
    lora: dict[str, Any] | None = Field(
        default=None,
        description="options of PEFT's LoraConfig; null = train all weights",
    )
    quantize: Literal["nf4"] | None = Field(
        default=None, description="train adapters on a base in 4 bits (QLoRA; needs bitsandbytes); null = as stored"
    )
    adapter: Literal["fresh", "continue", "merge"] = Field(
        default="fresh", description="what becomes of the last adapter"
    )
    process: Literal["auto", "keep", "fresh"] = Field(
        default="auto", description="keep the trainer process across rounds?"
    )
    threads: AtLeastOne | None = Field(default=None, description="CPU threads of the trainer; null = all")
    dtype: Dtype = Field(
        default="auto", description="precision that training computes in; weights keep the precision of their files"
    )
    launch: str = Field(
        default="single",
        min_length=1,
        description="how processes share a training: single, ddp, fsdp2, zero3 or a FILE.yaml of `accelerate config`",
    )
    processes: AtLeastOne | None = Field(
        default=None, description="processes of a launched training; null = as the file says, or one per GPU"
    )
    python: str | None = Field(
        default=None, min_length=1, description="interpreter of another environment that trains; null = this one"
    )
    batch_size: AtLeastOne | None = Field(
        default=None,
        description="rows of one optimiser step over all processes; null = per_device_train_batch_size x "
        "gradient_accumulation_steps x processes",
    )
    batch_tokens: AtLeastOne | None = Field(
        default=None,
        description="tokens that a process computes at once: rows are sorted by length and taken in several passes; "
        "null = per_device_train_batch_size rows at once",
    )
    packing: bool = Field(
        default=False, description="put the rows of a pass behind each other instead of padding them (supervised rows)"
    )
    save_every_minutes: float | None = Field(
        default=15.0, gt=0, description="how often a training saves a checkpoint it can go on from; null = never"
    )
    max_tokens: AtLeastOne | None = Field(
        default=None,
        description="longer rows are left out and counted; null = no limit",
    )

    @model_validator(mode="after")
    def _command_goes_with_type(self) -> TrainingConfig:
        if (self.command is not None) != (self.type == "command"):
            raise PydanticCustomError("command", "'command' and 'type: command' go together")
        if self.type != "trl" and (self.launch != "single" or self.python):
            raise PydanticCustomError("launch", "'launch' and 'python' are for 'type: trl'")
        if self.launch not in LAUNCHES and not self.launch.lower().endswith(LAUNCH_FILES):
            raise PydanticCustomError("launch", "'launch' is single, ddp, fsdp2, zero3 or a FILE.yaml of accelerate")
        if self.quantize and (self.lora is None or self.launch not in ("single", "ddp")):
            raise PydanticCustomError("quantize", "'quantize' needs 'lora', and 'launch' single or ddp")
        if self.processes is not None and self.launch == "single":
            raise PydanticCustomError("launch", "'processes' needs 'launch': ddp, fsdp2, zero3 or a FILE.yaml")
        return self


class EvaluationConfig(Strict):
    """How held-out problems are answered: greedily, unless `params` says otherwise."""

    max_tokens: AtLeastOne | None = Field(default=None, description="null = as in sampling")
    params: dict[str, Any] = Field(default={}, description="options of vLLM's SamplingParams, by their own names")
    engine: dict[str, Any] | None = Field(
        default=None,
        description="options of vLLM's EngineArgs for evaluations, instead of `sampling.engine`: the engines are built "
        "anew for them; null = the same engines",
    )
    each_task: bool = Field(
        default=True, description="with several tasks: a round that is clearly worse at one of them is not gone on from"
    )


class StopConfig(Strict):
    """When to stop before the last round."""

    target: Share | None = Field(default=None, description="gate accuracy to reach")
    patience: AtLeastOne | None = Field(default=None, description="rounds without a better result")


class ClusterConfig(Strict):
    """Where processes run."""

    backend: Literal["ray", "inline"] = Field(
        default="ray", description="inline = in this process, for doubles and tests"
    )
    address: str | None = Field(default=None, description="a running Ray cluster; null = start one here")
