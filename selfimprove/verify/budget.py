"""How many samples may go unjudged before a run stops, and what a verdict depends on.

Contract: errors are no verdicts, so they never train; but a run whose verifier mostly errs must not go on and call the
remainder a data set.

See it work: ``pytest tests/verify/test_budget.py``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove import plugins, sources
from selfimprove.errors import TooManyErrors
from selfimprove.types import Verdict
from selfimprove.verify.verdicts import TRUNCATED


class ErrorBudget:
    """Counts verdicts and stops when more than ``max_share`` of those asked for are errors.

    The share is looked at from ``min_judged`` verdicts on, so that one early error stops nothing; `settle` looks at it
    at the end whatever the count. Truncated samples, of which no verifier was asked, do not count.
    """

    def __init__(self, max_share: float, min_judged: int = 20) -> None:
        self.max_share, self.min_judged = max_share, min_judged
        self.judged = 0
        self.errors: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    @property
    def share(self) -> float:
        return self.errors.total() / self.judged if self.judged else 0.0

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Count ``verdicts``. Raises TooManyErrors (exit code 8)."""
        for verdict in verdicts:
            self.judged += verdict != TRUNCATED
            if verdict.outcome == "error":
                error = verdict.error or "error"
                self.errors[error] += 1
                self._examples.setdefault(error, verdict.reason)
        if self.judged >= self.min_judged:
            self.settle()

    def settle(self) -> None:
        """Look at the share now: call it when all samples of a step are judged. Raises TooManyErrors."""
        if self.share <= self.max_share:
            return
        error, count = self.errors.most_common(1)[0]
        example = f", for example: {self._examples[error]}" if self._examples[error] else ""
        what = f"the verifier could not judge {self.errors.total()} of {self.judged} samples ({self.share:.0%}, "
        what += f"verifier.max_error_share allows {self.max_share:.0%}); commonest: {error} ({count}){example}"
        raise TooManyErrors(what, hint=_FIXES.get(error, _FIX))


_FIX = "correct the verifier or the problems it fails on; the same command judges the stored samples again"
_FIXES = {
    "timeout": "make the verifier faster or raise verifier.timeout_s; the same command continues",
    "MemoryError": "raise verifier.memory_mb or use less memory in the verifier; the same command continues",
    "no-threshold": "the verifier returns numbers: set verifier.threshold, or return bool or Verdict",
    "bad-return": "a verifier returns bool, float or Verdict on every path; correct it and run the same command",
}


def verifier_digest(config: Mapping[str, Any]) -> str:
    """blake3 (hex) of what a pass or a fail depends on: the verifier's name, source, arguments and threshold.

    Of several verifiers: the rule, and each one's digest, weight and place. Limits (``timeout_s``, ``memory_mb``),
    ``retries`` and ``workers`` stay out: they can turn a verdict into an error and back, never a pass into a fail. So
    stored verdicts hold under any of them, and a run may resume on a slower machine with more time. Where a file lies
    is no part of it either. Of the files that the verifier imports, those of this package that judge (`SHARED`) count.
    """
    rule = next((name for name in ("all", "any", "weighted", "cascade") if config.get(name)), None)
    if rule is not None:
        leaves = [
            [verifier_digest(leaf), leaf.get("weight"), leaf.get("settles"), *filter(None, [leaf.get("tasks")])]
            for leaf in config[rule]
        ]
        return _digest({"rule": rule, "of": leaves, "threshold": config.get("threshold")})
    spec = str(config["name"])
    dialect, plain = plugins.split_dialect(spec)
    left, colon, name = plain.rpartition(":")
    is_file = colon and (left.endswith(".py") or "/" in left)
    return _digest(
        {
            "name": f"{dialect}:{name}".lstrip(":") if is_file else spec,
            "source": plugins.source_digest("verifier", spec),
            "shared": _shared(plugins.locate("verifier", spec).file),
            "args": config.get("args") or {},
            "threshold": config.get("threshold"),
        }
    )


SHARED = ("text", "answers", "sandbox", "judging")
"""Modules of this package whose code decides verdicts of the verifiers that import them."""


def _digest(parts: Mapping[str, Any]) -> str:
    import blake3

    return blake3.blake3(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _shared(file: Path) -> str:
    """The judging code that a verifier's file imports; "" if none."""
    import blake3

    names = sorted(sources.imported(file, "selfimprove") & set(SHARED))
    home, hasher = Path(__file__).resolve().parent.parent, blake3.blake3()
    for name in ["text", *names] if names else []:  # they all read text by the rules of `selfimprove.text`
        for part in sorted((home / name).glob("*.py")) or [home / f"{name}.py"]:
            hasher.update(part.name.encode() + b"\0" + part.read_bytes())
    return hasher.hexdigest() if names else ""
