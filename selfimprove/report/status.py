"""Where a run stands, from its markers: finished rounds, accuracies, the best policy, the stage under way.

Contract: reads only; works on a run that is going, finished, killed or stopped. `read_status` gives the object that
``status --json`` carries in ``data``.

See it work: ``selfimprove status RUN --json``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove.report.table import grid, percent
from selfimprove.store.files import RunFiles
from selfimprove.store.lease import alive_here, owner_of
from selfimprove.store.runs import open_run, read_json, read_sealed, rounds
from selfimprove.store.steps import COMMITTED, Marker, read_marker

COUNTS = ("sampled", "passed", "failed", "errors", "truncated", "kept", "trained", "steps")


def read_status(run_dir: Path) -> dict[str, Any]:
    """The state of the run in ``run_dir``.

    ``state`` is ``running``, ``stopped`` (resume it), ``finished`` or ``starved``. ``rounds[].accuracy`` and
    ``base.accuracy`` are on the gate split; ``report`` holds the figures of the report split once there are any.
    """
    files = open_run(run_dir)
    done = rounds(files)
    finished = read_sealed(files, "FINISHED.json")
    live = read_json(files, "status.json") or {}
    rows = [_round(index, marker) for index, marker in sorted(done.items()) if index > 0]
    state = _state(files, finished, len(rows), live)
    return {
        "run": str(run_dir),
        "state": state,
        "exit_code": finished["exit_code"] if finished and state in ("finished", "starved") else None,
        "message": finished["message"] if finished and state in ("finished", "starved") else live.get("error", ""),
        "stage": {name: live.get(name) for name in ("stage", "done", "total")} if state == "running" else None,
        "warmup": _round(0, done[0]) if 0 in done else None,
        "base": {"accuracy": _base_accuracy(files)},
        "rounds": rows,
        "best": _best(run_dir, done),
        "report": finished["data"].get("report") if finished else None,
        "updated_s": time.time() - live["at"] if "at" in live else None,
    }


def _state(files: RunFiles, finished: Mapping[str, Any] | None, rounds_done: int, live: Mapping[str, Any]) -> str:
    owner = owner_of(files)
    alive = alive_here(owner) if owner else False
    if alive or (alive is None and live.get("state") == "running" and time.time() - live.get("at", 0) < 120):
        return "running"
    if finished and finished["data"].get("rounds", rounds_done) >= rounds_done:
        return str(finished["data"]["state"])
    return "stopped"


def _round(index: int, marker: Marker) -> dict[str, Any]:
    decision = marker.data["decision"]
    return {
        "index": index,
        **{name: marker.counts.get(name, 0) for name in COUNTS},
        "accuracy": marker.data["accuracy"],
        "by_task": marker.data["evaluation"].get("by_task", {}),
        "continued": decision["continued"],
        "named": decision["named"],
        "reason": decision["reason"],
        "versus_base": decision["versus_base"],
        "seconds": dict(marker.seconds),
    }


def _base_accuracy(files: RunFiles) -> dict[str, float] | None:
    """The base's accuracy on the gate split: kept by the step that evaluated it."""
    marker = read_marker(files, f"setup/base/{COMMITTED}")
    return dict(marker.data["accuracy"]) if marker else None


def _best(run_dir: Path, done: Mapping[int, Marker]) -> dict[str, Any] | None:
    named = [(index, marker) for index, marker in done.items() if index and marker.data["decision"]["named"]]
    if not named:
        return None
    index, marker = max(named)
    candidate = marker.data["candidate"]
    adapter = str(run_dir / candidate["adapter"]) if candidate["adapter"] else None
    return {
        "round": index,
        "accuracy": marker.data["accuracy"],
        "policy": str(run_dir / candidate["source"]),
        "adapter": adapter,
        "digest": candidate["digest"],
    }


def render_rounds(status: Mapping[str, Any]) -> str:
    """A table with a line per round."""
    header = ("round", "sampled", "passed", "failed", "errors", "kept", "trained", "accuracy", "decision", "seconds")
    base = ("base", "", "", "", "", "", "", percent(status["base"]["accuracy"]), "", "")
    return grid(header, [base, *(_row(row) for row in status["rounds"])])


def render_status(status: Mapping[str, Any]) -> str:
    """The same for people: a table per round and what to type next."""
    lines = [render_rounds(status), *_by_task(status["rounds"]), "", f"state: {status['state']}"]
    if status["stage"]:
        lines.append("now: {stage}: {done}/{total}".format(**status["stage"]))
    if status["best"]:
        lines.append(f"best: round {status['best']['round']}, {status['best']['policy']}")
    if status["report"]:
        report = status["report"]
        lines.append(
            f"report: {percent(report['base'])} -> {percent(report['best'])} on {report['best']['n']} problems"
        )
    if status["message"]:
        lines.append(status["message"])
    if status["state"] == "stopped":
        lines.append(f"next: selfimprove run {status['run']}")
    return "\n".join(lines)


def _by_task(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last evaluated round's accuracy by task, if there are several tasks."""
    last = next((row for row in reversed(rows) if row["by_task"]), None)
    return (
        [f"round {last['index']}, {task}: {percent(found)}" for task, found in last["by_task"].items()] if last else []
    )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = tuple(str(row[name]) for name in ("index", "sampled", "passed", "failed", "errors", "kept", "trained"))
    decision = ("continued" if row["continued"] else "not continued") + (", named" if row["named"] else "")
    return (*counts, percent(row["accuracy"]), decision, f"{sum(row['seconds'].values()):.1f}")
