"""Rounds as lines and tables for people.

Contract: pure text from figures; no colour codes, so that pipes and narrow terminals read the same.

See it work: ``selfimprove status RUN``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfimprove.types import Interval


def percent(interval: Interval | Mapping[str, float] | None) -> str:
    """``64.2 % [60.1, 68.1]``."""
    if interval is None:
        return "-"
    value, low, high = _triple(interval)
    return f"{value * 100:.1f} % [{low * 100:.1f}, {high * 100:.1f}]"


def _triple(interval: Interval | Mapping[str, float]) -> tuple[float, float, float]:
    if isinstance(interval, Interval):
        return interval.value, interval.low, interval.high
    return interval["value"], interval["low"], interval["high"]


def round_line(
    index: int,
    counts: Mapping[str, int],
    accuracy: Interval | None,
    reason: str,
    seconds: Mapping[str, float],
) -> str:
    """One finished round in one line."""
    name = f"round {index}" if index else "warm-up"
    sampled = f"{counts.get('passed', 0)}/{counts['sampled']} passed, " if counts.get("sampled") else ""
    errors = f"{counts['errors']} errors, " if counts.get("errors") else ""
    trained = f"trained on {counts.get('trained', 0)} rows"
    gate = f"; gate {percent(accuracy)}, {reason}" if accuracy else ""
    spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items() if value >= 0.05)
    return f"{name}: {sampled}{errors}{trained}{gate} ({spent})"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table: columns padded, two blanks between."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
