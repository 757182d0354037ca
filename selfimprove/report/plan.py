"""What a run would do, reuse and cost, before it does anything.

Contract: reads the configuration, the problems and the run directory; starts nothing and imports no heavy library.
Token counts are upper bounds (every completion as long as ``max_tokens`` allows).

See it work: ``selfimprove plan quickstart``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove import mixture
from selfimprove.config import RunConfig, diff, python_recipe_options, semantic
from selfimprove.policies import is_hub_id, local_policy
from selfimprove.report import memory
from selfimprove.report.table import grid
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import read_begun, rounds
from selfimprove.store.steps import COMMITTED, read_marker, read_parts


def plan(config: RunConfig, run_dir: Path) -> dict[str, Any]:
    """The plan as data: model, problems, options of the rounds, and the state of every round's steps."""
    files = RunFiles(run_dir)
    begun = read_begun(files)
    splits = mixture.load(config).splits
    options = python_recipe_options(config)
    asked = min(config.problems_per_round or len(splits.train), len(splits.train))
    return {
        "run": str(run_dir),
        "new": begun is None,
        "changed": diff(begun["config"], semantic(config)) if begun else [],
        "model": _model(config),
        "problems": {"train": len(splits.train), "gate": len(splits.gate), "report": len(splits.report)},
        "recipe": {"name": config.recipe.name, "options": _plain(options)},
        "warmup": config.warmup.name if config.warmup else None,
        "semantics": {"ask": config.ask, "problems_per_round": asked, "sample_from": config.sample_from},
        "rounds": [_round(files, index) for index in range(1, config.rounds + 1)],
        "per_round": _sizes(config, options, asked, len(splits.gate)),
        "memory": _memory(config),
    }


def _model(config: RunConfig) -> dict[str, Any]:
    model = config.model
    if model.build:
        return {"build": model.build, "args": dict(model.args)}
    assert model.source is not None
    if is_hub_id(model.source):
        return {"source": model.source, "digest": None}
    return {"source": model.source, "digest": local_policy(Path(model.source)).digest}


def _memory(config: RunConfig) -> dict[str, float] | None:
    """What training and sampling need, where the model is a directory that says its shape."""
    shape = memory.shape_of(Path(config.model.source)) if config.model.source else None
    if shape is None or config.training.type != "trl":
        return None
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return memory.needed(shape, config.training.model_dump(), config.sampling.model_dump(), gpus)


def _plain(options: Any) -> dict[str, Any]:
    assert dataclasses.is_dataclass(options) and not isinstance(options, type)
    return dict(json.loads(json.dumps(dataclasses.asdict(options), default=str)))


def _round(files: RunFiles, index: int) -> dict[str, Any]:
    key = f"rounds/{index:03d}"
    if index in rounds(files):
        return {"index": index, "state": "committed"}
    partial = {}
    for name in files.list(key):
        parts = len(read_parts(files, f"{key}/{name}/samples"))
        if read_marker(files, f"{key}/{name}/samples/{COMMITTED}") is not None:
            partial[name] = "sampled"
        elif parts:
            partial[name] = f"{parts} parts sampled"
    return {"index": index, "state": "partial" if partial else "new", **({"steps": partial} if partial else {})}


def _sizes(config: RunConfig, options: Any, asked: int, gate: int) -> dict[str, int]:
    n = int(getattr(options, "samples", 1))
    limit = config.sampling.max_tokens
    return {"samples": asked * n, "new_tokens_at_most": asked * n * limit, "evaluations": gate}


def render_plan(found: Mapping[str, Any]) -> str:
    """The plan for people."""
    counts, semantics, sizes = found["problems"], found["semantics"], found["per_round"]
    lines = [f"run: {found['run']} ({'new' if found['new'] else 'begun'})"]
    lines.append("model: " + ", ".join(f"{name} {value}" for name, value in found["model"].items() if value))
    lines.append("problems: " + ", ".join(f"{value} {name}" for name, value in counts.items()))
    if found["warmup"]:
        lines.append(f"warm-up: {found['warmup']}")
    lines.append(f"recipe: {found['recipe']['name']}")
    lines += [f"  {name}: {value}" for name, value in found["recipe"]["options"].items()]
    lines += [f"  {name}: {value}" for name, value in semantics.items()]
    lines.append(
        f"per round: {sizes['samples']} samples, at most {sizes['new_tokens_at_most']:,} new tokens, "
        f"{sizes['evaluations']} evaluations"
    )
    if found["memory"]:
        lines.append(memory.render(found["memory"]))
    rows = [(str(row["index"]), row["state"], _steps(row)) for row in found["rounds"]]
    lines += ["", grid(("round", "state", "steps"), rows)]
    if found["changed"]:
        lines += [
            "",
            "changed since this run began (it would be refused):",
            *(f"  {line}" for line in found["changed"]),
        ]
    return "\n".join(lines)


def _steps(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {state}" for name, state in row.get("steps", {}).items())
