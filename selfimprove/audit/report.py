"""What an audit found: figures for programs, a table for people, and whether all is well.

Contract: pure. ``data`` holds at least ``cases``, ``wrong_accept``, ``wrong_reject``, ``errors`` and ``seconds``; every
list holds ids, in the order of the cases.

See it work: ``selfimprove verifiers check --json``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfimprove.audit.leaks import LeftBehind
from selfimprove.audit.trials import Judged
from selfimprove.evaluate.stats import wilson
from selfimprove.report.table import grid, percent

NOT_GOOD = 3
"""Exit code: the audit finished, and the verifier is not good."""

TOLERANCE = 0.05
_SHOWN = 20
_SORTS = {
    "wrong_accept": "accepted, must be refused",
    "wrong_reject": "refused, must be accepted",
    "errors": "could not be judged",
    "flaky": "judged differently the second time",
    "late": "later than its time limit + 1 s",
    "side_effects": "wrote the path that it must not",
    "traces": "changed the next check",
}


@dataclass(frozen=True, slots=True)
class Audit:
    """All that was judged. ``skipped`` counts cases by kind that nobody judges; ``chance`` names categories whose
    accepted ones may be right: they are forgiven up to a share of `TOLERANCE`."""

    judged: Sequence[Judged]
    seconds: float
    left: LeftBehind
    noise: Mapping[str, Any]
    skipped: Mapping[str, int] = field(default_factory=dict)
    chance: Collection[str] = ()
    without_gold: int = 0
    warnings: tuple[str, ...] = ()


def data(audit: Audit) -> dict[str, Any]:
    """The result for programs."""
    judged = audit.judged
    lists = {name: [one.trial.id for one in judged if test(one)] for name, test in _TESTS.items()}
    verdicts = [verdict for one in judged for verdict in one.verdicts]
    unjudged = sum(verdict.outcome == "error" for verdict in verdicts)
    forgiven = _forgiven(audit)
    found = {
        "cases": len(judged),
        **lists,
        "seconds": round(audit.seconds, 3),
        "forgiven": forgiven,
        "reasons": {one.trial.id: one.reason for one in judged if _faulty(one)},
        "by_kind": _counts(judged, lambda one: one.trial.kind),
        "by_category": _counts(judged, lambda one: f"{one.trial.kind}/{one.trial.category}"),
        "latency": _latency(judged),
        "error_rate": unjudged / len(verdicts) if verdicts else 0.0,
        "verdicts": len(verdicts),
        "label_noise": dict(audit.noise),
        "skipped": dict(audit.skipped),
        "without_gold": audit.without_gold,
        "left_behind": audit.left.json(),
    }
    return {**found, "good": _good(found)}


def exit_code(found: Mapping[str, Any]) -> int:
    return 0 if found["good"] else NOT_GOOD


def text(audit: Audit, found: Mapping[str, Any]) -> str:
    """The result for people."""
    lines = [_table(found), "", *_figures(found)]
    for name, words in _SORTS.items():
        lines += _listed(audit, found, name, words)
    if found["forgiven"]:
        lines.append(f"may be right by chance, not counted against it: {_some(found['forgiven'])}")
    lines += [f"left behind: {what}" for what in _left(audit.left)]
    if audit.left.perhaps:
        lines.append(f"new while the audit ran, perhaps of another program: {_some(audit.left.perhaps)}")
    return "\n".join(lines)


def summary(found: Mapping[str, Any]) -> str:
    """What is wrong, in one line."""
    forgiven = len(found["forgiven"])
    counts = {name: len(found[name]) - (forgiven if name == "wrong_accept" else 0) for name in _SORTS}
    said = [f"{count} {_SORTS[name]}" for name, count in counts.items() if count]
    said += ["something was left behind"] if _leaks(found["left_behind"]) else []
    return f"the verifier is not good: {'; '.join(said)}"


_TESTS: Mapping[str, Callable[[Judged], bool]] = {
    "wrong_accept": lambda one: one.wrong and not one.trial.must_accept,
    "wrong_reject": lambda one: one.wrong and one.trial.must_accept,
    "errors": lambda one: one.errored,
    "flaky": lambda one: one.flaky,
    "late": lambda one: one.late,
    "side_effects": lambda one: one.written,
    "traces": lambda one: bool(one.trace),
}


def _faulty(one: Judged) -> bool:
    return any(test(one) for test in _TESTS.values())


def _forgiven(audit: Audit) -> list[str]:
    found: list[str] = []
    for category in sorted(audit.chance):
        asked = [one for one in audit.judged if one.trial.category == category]
        accepted = [one.trial.id for one in asked if one.wrong and not one.trial.must_accept]
        if len(accepted) <= TOLERANCE * len(asked):
            found += accepted
    return found


def _good(found: Mapping[str, Any]) -> bool:
    unforgiven = set(found["wrong_accept"]) - set(found["forgiven"])
    others = any(found[name] for name in _SORTS if name != "wrong_accept")
    return not (unforgiven or others or _leaks(found["left_behind"]))


def _leaks(left: Mapping[str, Any]) -> bool:
    return any(value for name, value in left.items() if name != "perhaps")


def _counts(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for one in judged:
        row = table.setdefault(key(one), {"cases": 0, "wrong_accept": 0, "wrong_reject": 0, "errors": 0})
        row["cases"] += 1
        for name in ("wrong_accept", "wrong_reject", "errors"):
            row[name] += _TESTS[name](one)
    return table


def _latency(judged: Sequence[Judged]) -> dict[str, float]:
    """Seconds of a verdict, slow cases apart: they use up their limit by design."""
    quick = sorted(verdict.seconds for one in judged if not one.trial.slow for verdict in one.verdicts)
    slow = [verdict.seconds for one in judged if one.trial.slow for verdict in one.verdicts]
    found = {"p50": quantile(quick, 0.5), "p99": quantile(quick, 0.99), "max": quantile(quick, 1.0)}
    return {**found, "slow_max": max(slow, default=0.0)}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of ``ordered`` figures that at least ``share`` of them do not exceed (nearest rank); 0 of none."""
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(0, rank - 1)] if ordered else 0.0


def _table(found: Mapping[str, Any]) -> str:
    header = ("", "cases", "wrong accept", "wrong reject", "errors")
    rows = [(name, *map(str, row.values())) for name, row in found["by_category"].items()]
    totals = [(f"all {name}", *map(str, row.values())) for name, row in found["by_kind"].items()]
    skipped = [(f"{kind}, skipped", str(count), "-", "-", "-") for kind, count in found["skipped"].items()]
    return grid(header, [*sorted(rows), *totals, *skipped])


def _figures(found: Mapping[str, Any]) -> list[str]:
    latency, noise = found["latency"], found["label_noise"]
    slow = f", slow cases up to {latency['slow_max']:.1f} s" if latency["slow_max"] else ""
    interval = wilson(round(noise["share"] * noise["n"]), noise["n"])
    lines = [
        f"{found['cases']:,} cases, {found['verdicts']:,} verdicts in {found['seconds']:.1f} s",
        f"latency: p50 {_seconds(latency['p50'])}, p99 {_seconds(latency['p99'])}{slow}",
        f"error rate {found['error_rate']:.2%}; flaky: {len(found['flaky'])}",
        f"label noise, at least: {percent(interval)} of {noise['n']:,} ({noise['how']})",
    ]
    if found["without_gold"]:
        lines.append(f"{found['without_gold']:,} problems have no gold that could be tried")
    return lines


def _listed(audit: Audit, found: Mapping[str, Any], name: str, words: str) -> list[str]:
    ids = set(found[name]) - (set(found["forgiven"]) if name == "wrong_accept" else set())
    guilty = [one for one in audit.judged if one.trial.id in ids]
    if not guilty:
        return []
    lines = ["", f"{len(guilty)} {words}:"]
    for one in guilty[:_SHOWN]:
        said = {"traces": one.trace, "side_effects": one.trial.side_effect}.get(name) or one.reason
        why = f"; {one.trial.why}" if one.trial.why else ""
        lines.append(f"  {one.trial.id} ({one.trial.category}): {said[:200]}{why[:200]}")
    return lines + ([f"  ... and {len(guilty) - _SHOWN:,} more"] if len(guilty) > _SHOWN else [])


def _left(left: LeftBehind) -> list[str]:
    found = {"processes": left.processes, "files": left.files, "threads": left.threads, "open": left.descriptors}
    lines = [f"{name}: {_some(those)}" for name, those in found.items() if those]
    grown = [f"{count} {sort}" for sort, count in (left.growth or {}).items()]
    return lines + ([f"a worker gained {', '.join(grown)} while it judged the same cases again"] if grown else [])


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _seconds(seconds: float) -> str:
    return (
        f"{seconds * 1e6:.0f} us"
        if seconds < 1e-3
        else f"{seconds * 1e3:.1f} ms"
        if seconds < 1
        else f"{seconds:.1f} s"
    )
