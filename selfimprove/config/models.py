"""What a configuration may say: one frozen pydantic model per mapping of the YAML file.

Contract: unknown keys are refused, nothing is coerced (text is not a number, 1 is not true), every default is
valid, and no field accepts NaN or infinity. Paths in these models are absolute: `selfimprove.config.loader` makes
them so. Native options (``args``, ``params``, ``engine``, ``lora``) keep the names of the library they go to.

See it work: ``selfimprove config schema`` and ``selfimprove config show quickstart``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from selfimprove.config.machinery import ClusterConfig, EvaluationConfig, SamplingConfig, StopConfig, TrainingConfig
from selfimprove.config.strict import AtLeastOne, Count, Dtype, Share, Shorthand, Strict

_PINNED = re.compile(r"@[0-9a-f]{40}$")


class ThinkingConfig(Strict):
    """How a model marks its thinking, and what becomes of it. Verifiers see what follows."""

    start: str = Field(default="<think>", description="opens it; it may already stand at the end of the prompt")
    end: str = Field(default="</think>", min_length=1, description="closes it; the answer follows")
    train_on: Literal["all", "answer"] = Field(default="all", description="whether the thinking is trained on")


class ModelConfig(Shorthand):
    """The policy that the run starts from."""

    shorthand: ClassVar[str] = "source"

    source: str | None = Field(
        default=None,
        min_length=1,
        description="directory, or hub id org/name[@revision]",
    )
    build: str | None = Field(
        default=None,
        description="module:function that writes a model instead: fn(directory, **args)",
    )
    args: dict[str, Any] = Field(default={}, description="arguments of `build`")
    dtype: Dtype = Field(default="auto", description="precision of the stored weights; auto = as stored")
    chat_template: str | None = Field(
        default=None,
        description="file with a Jinja chat template, instead of the model's own",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={}, description="what the chat template is told, such as {enable_thinking: false}"
    )
    system_prompt: str | None = Field(
        default=None, min_length=1, description="said first in conversations that have no system message of their own"
    )
    thinking: ThinkingConfig | None = Field(
        default=None, description="how the model marks its thinking, such as {}; null = it does not think apart"
    )
    trust_remote_code: bool = Field(
        default=False,
        description="run code that comes with a hub model (needs a pinned revision)",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> ModelConfig:
        if (self.source is None) == (self.build is None):
            raise PydanticCustomError("one_of", "give either 'source' or 'build'")
        if self.args and self.build is None:
            raise PydanticCustomError(
                "args_without_build",
                "'args' are arguments of 'build', which is not given",
            )
        local = self.source is None or self.source.startswith("/")
        if self.trust_remote_code and not local and not _PINNED.search(self.source or ""):
            raise PydanticCustomError(
                "unpinned",
                "'trust_remote_code' needs a revision that cannot change: org/name@<40 hex digits>",
            )
        return self


class Source(Shorthand):
    """Where problems come from."""

    shorthand: ClassVar[str] = "source"

    source: str = Field(
        min_length=1,
        description="file.jsonl, file.parquet, a generator's name or file.py:generator",
    )
    args: dict[str, Any] = Field(default={}, description="arguments of a generator: n, seed and its own")


class ColumnsConfig(Strict):
    """Names of the columns that hold each part of a problem."""

    prompt: str = Field(default="prompt", description="a text, or a list of {role, content} messages")
    answer: str = Field(default="answer", description="the right answer")
    completion: str = Field(default="completion", description="a human solution")
    tests: str = Field(default="tests", description="tests that a right answer passes")
    task: str = Field(default="task", description="which kind of problem this is")
    key: str = Field(default="key", description="tells problems with the same prompt apart")
    answer_pattern: str | None = Field(
        default=None,
        min_length=1,
        description="regular expression whose last match in the answer (without one, in the completion) is the answer: "
        "its group 1 if it has one, such as '#### (.*)'",
    )

    @model_validator(mode="after")
    def _pattern_compiles(self) -> ColumnsConfig:
        try:
            re.compile(self.answer_pattern or "")
        except re.error as error:
            what = "'answer_pattern' is no regular expression: {why}"
            raise PydanticCustomError("pattern", what, {"why": str(error)}) from error
        return self


class ProblemSource(Source):
    """A source of problems, alone or one of several."""

    task: str | None = Field(default=None, min_length=1, description="task of its problems where rows name none")
    weight: float | None = Field(
        default=None, gt=0, description="its share of the problems of a round; null = by its size"
    )
    gate: Count | None = Field(default=None, description="what it holds out for the gate; null = its part of data.gate")
    report: Count | None = Field(default=None, description="and for the final figures; null = its part of data.report")
    columns: ColumnsConfig | None = Field(default=None, description="names of its columns; null = data.columns")
    chat_template_kwargs: dict[str, Any] = Field(
        default={}, description="what the chat template is told for its problems, besides model.chat_template_kwargs"
    )


class DataConfig(Strict):
    """Problems, and how many are held out."""

    problems: ProblemSource | None = Field(default=None, description="what the policy is asked")
    sources: Annotated[tuple[ProblemSource, ...], Field(strict=False)] | None = Field(
        default=None, min_length=1, description="instead of problems: several sources, each with its task and weight"
    )
    demonstrations: Source | None = Field(default=None, description="worked solutions, for methods that need them")
    gate: Count = Field(
        default=200,
        description="held-out problems that decide after each round; 0 = no gate",
    )
    report: Count = Field(
        default=200,
        description="held-out problems that no decision ever sees, for the final figures",
    )
    columns: ColumnsConfig = Field(default=ColumnsConfig(), description="names of the columns")

    @property
    def mixed(self) -> tuple[ProblemSource, ...]:
        """All sources of problems."""
        return self.sources or ((self.problems,) if self.problems else ())

    @model_validator(mode="after")
    def _one_way(self) -> DataConfig:
        if (self.problems is None) == (self.sources is None):
            raise PydanticCustomError("one_of", "give either 'problems' or 'sources'")
        weighted = [source.weight is not None for source in self.mixed]
        if any(weighted) and not all(weighted):
            raise PydanticCustomError("weights", "give every source a 'weight', or none")
        return self


class RecipeConfig(Shorthand):
    """A recipe's name and, beside it, the options of its own config class."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description="built-in name, file.py:function or module:function")

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's own options, without its name."""
        return dict(self.model_extra or {})


class JudgeConfig(Shorthand):
    """One verifier: alone, or one of several that are combined."""

    name: str = Field(min_length=1, description="built-in name, file.py:function or module:function")
    args: dict[str, Any] = Field(default={}, description="the verifier's own options")
    timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="wall time for one sample (of a group verifier: one problem); then its process is killed",
    )
    workers: AtLeastOne | None = Field(default=None, description="verifier processes; null = one per core")
    retries: Count = Field(default=1, description="how often an error is tried again before it counts")
    threshold: float | None = Field(
        default=None,
        description="a score from here on passes (for verifiers that return floats)",
    )
    memory_mb: int | None = Field(
        default=None, ge=64, description="address space of one verifier process, in MiB; null = what it says it needs"
    )
    policy: str | None = Field(
        default=None,
        min_length=1,
        description="who answers a verifier that asks a model: initial, base, previous, best, a model's directory, or "
        "a server's address (http://host:8000/v1#model); null = the policy that sampled",
    )
    tasks: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        default=None, description="asked only of problems whose `task` is one of these; null = of all"
    )
    weight: float = Field(default=1.0, gt=0, description="its share in a weighted sum of scores")
    settles: Literal["fail", "pass", "both"] = Field(
        default="fail",
        description="in a cascade: which of its verdicts is final; the others are left to the next verifier",
    )


Judges = Annotated[tuple[JudgeConfig, ...], Field(strict=False)]
POLICIES = ("initial", "base", "previous", "best")
RULES = ("all", "any", "weighted", "cascade")


class VerifierConfig(JudgeConfig):
    """How a good sample is told from a bad one: by one verifier, or by several combined by a rule."""

    name: str = Field(default="", description="built-in name, file.py:function or module:function")
    all: Judges | None = Field(default=None, description="several: each must pass")
    any: Judges | None = Field(default=None, description="several: one must pass")
    weighted: Judges | None = Field(
        default=None, description="several: the weighted mean of their scores must reach `threshold`"
    )
    cascade: Judges | None = Field(
        default=None, description="several, cheap first: each is asked only of what the ones before left open"
    )
    max_error_share: Share = Field(default=0.2, description="the run stops when more verdicts than this are errors")
    audit: Literal["refuse", "warn", "off"] = Field(
        default="refuse", description="what follows if the verifier rejects the problems' own gold answers"
    )

    @property
    def rule(self) -> str:
        """How the verdicts of `judges` are combined; "all" if there is one."""
        return next((name for name in RULES if getattr(self, name) is not None), "all")

    @property
    def judges(self) -> tuple[JudgeConfig, ...]:
        """The verifiers, in the order in which they are asked."""
        several: tuple[JudgeConfig, ...] | None = getattr(self, self.rule)
        if several is not None:
            return several
        return (JudgeConfig(**{name: getattr(self, name) for name in JudgeConfig.model_fields}),)

    @model_validator(mode="after")
    def _one_way(self) -> VerifierConfig:
        given = [name for name in RULES if getattr(self, name) is not None]
        if bool(self.name) + len(given) != 1:
            raise PydanticCustomError("one_of", "give one of 'name', 'all', 'any', 'weighted' and 'cascade'")
        if given and not getattr(self, given[0]):
            raise PydanticCustomError("empty", f"'{given[0]}' names no verifier")
        if (self.rule == "weighted") and self.threshold is None:
            raise PydanticCustomError("threshold", "'weighted' needs a 'threshold' that the mean score must reach")
        return self


class RunConfig(Strict):
    """Everything that a run needs to know."""

    model: ModelConfig = Field(description="the policy to start from: a directory, a hub id, or {build: ...}")
    data: DataConfig = Field(description="problems to learn from, and how many to hold out")
    recipe: RecipeConfig = Field(description="the method: what a round does")
    warmup: RecipeConfig | None = Field(default=None, description="a recipe run once before the first round")
    verifier: VerifierConfig = Field(description="how good samples are told from bad ones")
    rounds: AtLeastOne = Field(default=3, description="rounds of self-improvement")
    seed: Count = Field(default=0, description="all randomness of the run comes from it")
    ask: Literal["all", "fresh"] = Field(
        default="all", description="which problems a round asks: all, or only fresh ones (none is asked in two rounds)"
    )
    problems_per_round: AtLeastOne | None = Field(
        default=None, description="how many problems a round asks; null = all training problems"
    )
    sample_from: Literal["continued", "best", "base", "initial"] = Field(
        default="continued", description="the policy that samples in a round"
    )
    sampling: SamplingConfig = Field(default=SamplingConfig(), description="how completions are drawn")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how the policy is finetuned")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="how held-out problems are answered")
    stop: StopConfig = Field(default=StopConfig(), description="when to stop before the last round")
    cluster: ClusterConfig = Field(default=ClusterConfig(), description="where processes run")

    @model_validator(mode="after")
    def _judged_as_it_ships(self) -> RunConfig:
        rounded = sorted(set(self.sampling.engine) & {"quantization", "kv_cache_dtype"})
        if rounded and self.evaluation.engine is None and (self.data.gate or self.data.report):
            what = "'sampling.engine.{name}' samples from other weights than those that ship: set 'evaluation.engine'"
            raise PydanticCustomError("precision", what, {"name": rounded[0]})
        return self

    @model_validator(mode="after")
    def _weights_have_an_effect(self) -> RunConfig:
        if self.problems_per_round is None and any(source.weight is not None for source in self.data.mixed):
            raise PydanticCustomError("weights", "a source's 'weight' needs 'problems_per_round'")
        return self


# Dotted key -> the field that a bare text there stands for.
SHORTHANDS: dict[str, str] = {
    "model": "source",
    "data.problems": "source",
    "data.demonstrations": "source",
    "recipe": "name",
    "warmup": "name",
    "verifier": "name",
}
