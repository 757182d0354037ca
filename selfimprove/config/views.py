"""A finished configuration seen in other shapes: YAML, the part that is the run's identity, differences, a schema.

Contract: pure functions of a `RunConfig` (`semantic` also reads a chat template's bytes). ``load(dump_yaml(c)) == c``.

See it work: ``selfimprove config show quickstart`` and ``selfimprove config schema``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.config import strict_yaml
from selfimprove.config.models import RULES, RunConfig

# How the work is carried out, or how far: free to change while a run goes on.
EXECUTION = (
    "verifier.workers",
    "verifier.timeout_s",  # limits decide whether a verdict is reached, not which: errors are never kept anyway
    "verifier.memory_mb",
    "verifier.retries",
    "verifier.max_error_share",
    "verifier.audit",
    "sampling.canary_tolerance",
    "sampling.threads",
    "sampling.engines",
    "sampling.tensor_parallel",
    "sampling.max_restarts",
    "training.threads",
    "training.process",
    "training.launch",
    "training.processes",
    "training.python",
    "training.save_every_minutes",
    "sampling.endpoint",
    "sampling.python",
    "sampling.keep_tokens_every",
    "cluster",
    "rounds",
    "stop",
)
# Keys that earlier releases did not know: left at what says nothing, they are no difference to their runs.
_SILENT: Mapping[str, Any] = {
    "verifier.policy": None,
    "verifier.tasks": None,
    "training.command": None,
    "training.quantize": None,
    "training.batch_size": None,
    "training.batch_tokens": None,
    "training.packing": False,
    "data.sources": None,
    "data.problems": None,
    "data.problems.task": None,
    "data.problems.weight": None,
    "data.problems.gate": None,
    "data.problems.report": None,
    "data.problems.columns": None,
    "data.problems.chat_template_kwargs": {},
    "evaluation.each_task": True,
    "evaluation.engine": None,
    "sampling.samples": None,
    "data.columns.answer_pattern": None,
    "verifier.weight": 1.0,
    "verifier.settles": "fail",
    "model.chat_template_kwargs": {},
    "model.system_prompt": None,
    "model.thinking": None,
    **{f"verifier.{rule}": None for rule in RULES},
}
_PATHS = (
    "model.source",
    "model.build",
    "model.chat_template",
    "data.problems.source",
    "data.demonstrations.source",
    "recipe.name",
    "warmup.name",
    "verifier.name",
    "verifier.policy",
    "sampling.script",
    "sampling.samples",
)


def dump_yaml(config: RunConfig) -> str:
    """The resolved configuration: every key, every default, absolute paths."""
    return strict_yaml.dump(config.model_dump(mode="json"))


def flatten(config: RunConfig) -> dict[str, Any]:
    """Dotted key -> JSON value. Lists and empty mappings are values."""
    return dict(_leaves(config.model_dump(mode="json"), ""))


def semantic(config: RunConfig) -> dict[str, Any]:
    """The flattened keys that make this run this run; if one changes, finished steps no longer fit.

    Paths count by file name only, so that a project may be moved: what the files hold enters by its digest.
    """
    kept = {key: value for key, value in flatten(config).items() if not _execution(key)}
    kept = {key: value for key, value in kept.items() if key not in _SILENT or value != _SILENT[key]}
    for rule in RULES:
        if kept.get(f"verifier.{rule}") is not None:
            kept[f"verifier.{rule}"] = [_meaning(judge) for judge in kept[f"verifier.{rule}"]]
    if kept.get("data.sources") is not None:
        kept["data.sources"] = [{**told, "source": _by_name(told["source"])} for told in kept["data.sources"]]
    for key in _PATHS:
        value = kept.get(key)
        if isinstance(value, str):
            kept[key] = _by_name(value)
    template = config.model.chat_template
    if template is not None and Path(template).is_file():
        import blake3

        kept["model.chat_template"] = blake3.blake3(Path(template).read_bytes()).hexdigest()
    return kept


def diff(old: RunConfig | Mapping[str, Any], new: RunConfig | Mapping[str, Any]) -> list[str]:
    """Lines like ``sampling.temperature: 1.0 -> 0.7``, sorted by key; flattened mappings are compared as they are."""
    before = flatten(old) if isinstance(old, RunConfig) else old
    after = flatten(new) if isinstance(new, RunConfig) else new
    keys = sorted({*before, *after})
    return [
        f"{key}: {_brief(before, key)} -> {_brief(after, key)}"
        for key in keys
        if (key in before) != (key in after) or before.get(key) != after.get(key)
    ]


def schema() -> dict[str, Any]:
    """JSON Schema of a configuration file, for editors."""
    described = RunConfig.model_json_schema()
    described["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    described["title"] = "selfimprove configuration"
    several = {"type": "array", "items": {"type": "string"}}
    described["properties"]["extends"] = {
        "anyOf": [{"type": "string"}, several],
        "description": "files or presets that this one changes; later ones win",
    }
    described["required"] = []  # a file may be one layer of several
    return described


def _meaning(judge: Mapping[str, Any]) -> dict[str, Any]:
    """One of several verifiers without what is execution, its paths by file name."""
    kept = {name: value for name, value in judge.items() if not _execution(f"verifier.{name}")}
    kept = {name: value for name, value in kept.items() if name != "tasks" or value}
    return {**kept, **{name: _by_name(kept[name]) for name in ("name", "policy") if isinstance(kept[name], str)}}


def _by_name(value: str) -> str:
    """A path by its file's name, also behind a dialect: ``trl:/a/b.py:fn`` as ``trl:b.py:fn``."""
    if "://" in value:
        return value
    before, slash, path = value.partition("/")
    return f"{before}{Path(path).name}" if slash and (not before or before.endswith(":")) else value


def _execution(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in EXECUTION)


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and (value or not prefix):
        for name, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{name}" if prefix else name)
    else:
        yield prefix, value


def _brief(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "(not set)"
