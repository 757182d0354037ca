"""Finished rounds as values: what their markers keep, what follows for the named policies, how the end is told.

Contract: pure. `stored` and `restored` are inverse to each other, also after the run directory was moved.

See it work: ``pytest tests/test_results.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfimprove.gate import Decision, interval_json, points
from selfimprove.store.files import RunFiles
from selfimprove.types import Interval, Policy


@dataclass(frozen=True)
class RoundResult:
    """One finished round, as its marker records it."""

    index: int
    candidate: Policy
    accuracy: Interval | None
    decision: Decision


def named(policy: Policy) -> dict[str, Policy]:
    """The named policies while there is only one."""
    return dict.fromkeys(("initial", "base", "previous", "best", "continued"), policy)


def advance(policies: Mapping[str, Policy], result: RoundResult) -> dict[str, Policy]:
    """The named policies after a round."""
    after = {**policies, "previous": result.candidate}
    if result.decision.continued:
        after["continued"] = result.candidate
    if result.decision.named:
        after["best"] = result.candidate
    return after


def inside(files: RunFiles, path: str) -> str:
    """A path below the run directory is stored relative to it, so that a run can be moved."""
    root = files.root
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def stored(files: RunFiles, policy: Policy) -> dict[str, Any]:
    """A policy as a marker keeps it: its paths relative to the run where they lie in it."""
    adapter = None if policy.adapter is None else inside(files, policy.adapter)
    return {**asdict(policy), "source": inside(files, policy.source), "adapter": adapter}


def restored(files: RunFiles, stored: Mapping[str, Any]) -> Policy:
    """The policy that a marker keeps, its paths absolute."""
    adapter = str(files.root / stored["adapter"]) if stored["adapter"] else None
    known = {
        name: value for name, value in stored.items() if name in Policy.__dataclass_fields__
    }  # earlier ones had more
    return Policy(**{**known, "source": str(files.root / stored["source"]), "adapter": adapter})


def round_result(files: RunFiles, index: int, data: Mapping[str, Any]) -> RoundResult:
    """The finished round that a marker's data describe."""
    intervals = {
        name: Interval(**data["decision"][name]) if data["decision"][name] else None
        for name in ("versus_base", "versus_best")
    }
    decision = Decision(**{**data["decision"], **intervals})
    accuracy = Interval(**data["accuracy"]) if data["accuracy"] else None
    return RoundResult(index, restored(files, data["candidate"]), accuracy, decision)


def best_json(result: RoundResult | None) -> dict[str, Any] | None:
    """The named result as ``--json`` output carries it."""
    if result is None:
        return None
    where = result.candidate
    return {
        "round": result.index,
        "accuracy": interval_json(result.accuracy),
        "policy": where.source,
        "adapter": where.adapter,
        "digest": where.digest,
    }


def story(chosen: RoundResult, report: Mapping[str, Any] | None) -> str:
    """What came of the run, in one sentence."""
    if report is None:
        return f"round {chosen.index} is the result"
    gain = points(Interval(**report["difference"]))
    before, after = report["base"]["value"], report["best"]["value"]
    return (
        f"round {chosen.index} is the result: {before:.1%} -> {after:.1%} on {report['best']['n']} report problems "
        f"({gain}, paired)"
    )
