"""Configuration: YAML files and ``key=value`` words in, one frozen `RunConfig` out.

Contract: `load_config` returns a configuration in which every key is known, every value has its type and every file,
plugin and option named exists, or raises `InvalidConfig` with all that is wrong, each with file, line and column.
pydantic is imported here and nowhere else.

See it work: ``selfimprove config validate CONFIG`` and ``pytest tests/config``.
"""

from selfimprove.config.loader import find, is_override, load_config, load_with_origins
from selfimprove.config.machinery import ClusterConfig, EvaluationConfig, SamplingConfig, StopConfig, TrainingConfig
from selfimprove.config.messages import keys_of
from selfimprove.config.models import (
    ColumnsConfig,
    DataConfig,
    JudgeConfig,
    ModelConfig,
    ProblemSource,
    RecipeConfig,
    RunConfig,
    Source,
    VerifierConfig,
)
from selfimprove.config.native import NATIVE, Native
from selfimprove.config.recipes import python_recipe_options
from selfimprove.config.tree import InvalidConfig
from selfimprove.config.views import diff, dump_yaml, flatten, schema, semantic

__all__ = [
    "NATIVE",
    "ClusterConfig",
    "ColumnsConfig",
    "DataConfig",
    "EvaluationConfig",
    "InvalidConfig",
    "JudgeConfig",
    "ModelConfig",
    "Native",
    "ProblemSource",
    "RecipeConfig",
    "RunConfig",
    "SamplingConfig",
    "Source",
    "StopConfig",
    "TrainingConfig",
    "VerifierConfig",
    "diff",
    "dump_yaml",
    "find",
    "flatten",
    "is_override",
    "keys_of",
    "load_config",
    "load_with_origins",
    "python_recipe_options",
    "schema",
    "semantic",
]
