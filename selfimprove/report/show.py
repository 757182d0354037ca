"""The samples themselves: what was asked, what came back, what the verifier said, whether it was trained on.

Contract: reads committed parts only. A reference is a round (``2``), a step (``2/attempt``,
``rounds/002/attempt``), a problem id, a sample id, or nothing for an overview of the newest round.

See it work: ``selfimprove show RUN``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.store import tables
from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples, read_verdicts
from selfimprove.store.runs import committed, open_run
from selfimprove.store.steps import COMMITTED, Step, read_marker, read_parts
from selfimprove.types import Sample, Verdict


def show(run_dir: Path, ref: str | None = None, limit: int = 10) -> dict[str, Any]:
    """Samples that ``ref`` names, at most ``limit`` (``truncated`` says whether there are more).

    ConfigError if nothing has that name.
    """
    files = open_run(run_dir)
    steps = [step for step in _steps(files) if ref is None or _under(step, ref) or not _is_place(ref)]
    found: Iterator[dict[str, Any]]
    if ref is None:
        found = _balanced(
            files, [step for step in steps if not step.startswith("final/") and not step.endswith("/gate")][-1:]
        )
    elif _is_place(ref):
        found = (row for step in steps for row in _rows(files, step))
    else:
        found = (row for step in steps for row in _rows(files, step) if ref in (row["id"], row["problem_id"]))
    rows = list(islice(found, limit + 1))
    if not rows and ref is not None:
        raise ConfigError(
            f"{run_dir}: no sample, problem or step is called {ref!r}",
            hint="steps here: " + ", ".join(_steps(files)[:8]),
        )
    return {"run": str(run_dir), "steps": _steps(files), "samples": rows[:limit], "truncated": len(rows) > limit}


def _is_place(ref: str) -> bool:
    top, _, below = ref.partition("/")
    return (top.isdecimal() and "/" not in below) or (top in ("rounds", "final") and ref.count("/") <= 2)


def _under(step: str, ref: str) -> bool:
    parts = ref.rstrip("/").split("/")
    parts = ["rounds", *parts] if parts[0].isdecimal() else parts
    place = "/".join(f"{int(part):03d}" if part.isdecimal() else part for part in parts)
    return step == place or step.startswith(f"{place}/")


def _steps(files: RunFiles) -> list[str]:
    """Sampling steps with at least one committed part, in order."""
    places = {f"{top}/{index}" for top in ("rounds", "final") for index in files.list(top)}
    names = sorted(f"{place}/{name}" for place in places for name in files.list(place))
    return [name for name in names if files.list(f"{name}/samples/parts")]


def _rows(files: RunFiles, step: str) -> Iterator[dict[str, Any]]:
    samples, verdicts = _open(files, f"{step}/samples"), _verdicts(files, step)
    trained = _trained(files, step.rpartition("/")[0])
    for number, marker in sorted(samples.parts.items()):
        judged: list[Verdict | None] = [None] * marker.counts["sampled"]
        if verdicts is not None and number in verdicts.parts:
            judged = list(read_verdicts(verdicts, verdicts.parts[number]))
        for sample, verdict in zip(read_samples(samples, marker), judged, strict=True):
            yield _row(sample, verdict, sample.id in trained)


def _open(files: RunFiles, key: str) -> Step:
    return Step(files, key, {}, None, read_marker(files, f"{key}/{COMMITTED}"), read_parts(files, key))


def _verdicts(files: RunFiles, step: str) -> Step | None:
    names = [name for name in files.list(step) if name.startswith("verdicts-")]
    return _open(files, f"{step}/{names[-1]}") if names else None


def _trained(files: RunFiles, place: str) -> set[str]:
    """Ids of the samples that some training of this round was made of."""
    found: set[str] = set()
    for key, marker in committed(files, place):
        if key.endswith("/examples"):
            step = Step(files, key, {}, None, marker)
            for example in tables.read_examples(step.path(marker.outputs[0])):
                found.update(example.source)
    return found


def _row(sample: Sample, verdict: Verdict | None, trained: bool) -> dict[str, Any]:
    judged = {} if verdict is None else {"outcome": verdict.outcome, "score": verdict.score, "reason": verdict.reason}
    return {
        "id": sample.id,
        "problem_id": sample.problem_id,
        "view": sample.view,
        "prompt": sample.prompt,
        "completion": sample.completion,
        "finish": sample.finish,
        "tokens": len(sample.token_ids),
        "seed": sample.seed,
        **judged,
        "answer": verdict.answer if verdict else None,
        "error": verdict.error if verdict else None,
        "trained": trained,
    }


def _balanced(files: RunFiles, steps: list[str]) -> Iterator[dict[str, Any]]:
    """Passes, fails and errors of the newest step by turns, so that an overview shows each."""
    rows = [row for step in steps for row in islice(_rows(files, step), 2000)]
    kinds = [[row for row in rows if row.get("outcome") == outcome] for outcome in ("pass", "fail", "error", None)]
    for turn in range(max(map(len, kinds), default=0)):
        yield from (kind[turn] for kind in kinds if turn < len(kind))


def render_show(found: Mapping[str, Any]) -> str:
    """The same for people."""
    blocks = [_block(row) for row in found["samples"]]
    if found["truncated"]:
        blocks.append("... there are more: raise --limit")
    return "\n\n".join(blocks) or "no samples yet"


def _block(row: Mapping[str, Any]) -> str:
    state = row.get("outcome", "not judged") + (", trained on" if row["trained"] else "")
    lines = [f"{row['id']}  [{state}]  {row['tokens']} tokens, {row['finish']}"]
    lines.append(f"  prompt:     {row['prompt']}")
    lines.append(f"  completion: {row['completion']}")
    said = [f"answer {row['answer']}" if row["answer"] is not None else "", row.get("reason") or "", row["error"] or ""]
    if any(said):
        lines.append("  verdict:    " + "; ".join(text for text in said if text))
    return "\n".join(lines)
