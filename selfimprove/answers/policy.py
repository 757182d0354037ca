"""The debatable calls of answer matching, each a named option with a documented default.

Contract: pure data, checked when made (ValueError names the option and what it takes).

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

FORMS = ("evaluated", "closed", "any")
CHOICES = {
    "forms": FORMS,
    "units": ("agree", "ignore"),
    "percent": ("sign", "either"),
    "alternatives": ("refuse", "any", "all"),
    "undecided": ("fail", "error"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """See ``docs/answers.md`` for every option and its reason."""

    ignore_case: bool = True
    forms: str = "evaluated"
    units: str = "agree"
    percent: str = "sign"
    tolerance: float | None = None
    thinking: bool = False
    alternatives: str = "refuse"
    undecided: str = "fail"
    symbolic_limit_s: float = 2.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise ValueError(
                f"tolerance is {self.tolerance!r}; it must be a share of the known answer, from 0 to below 1"
            )
        if not 0 < self.symbolic_limit_s <= 60:
            raise ValueError(
                f"symbolic_limit_s is {self.symbolic_limit_s!r}; it must be above 0 and at most 60 seconds"
            )

    @classmethod
    def of(cls, options: dict[str, Any]) -> Policy:
        """From keyword options. Raises TypeError for an unknown one, naming those that exist."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise TypeError(f"no option is called {', '.join(unknown)}; there are {', '.join(known)}")
        return cls(**options)


DEFAULT = Policy()
