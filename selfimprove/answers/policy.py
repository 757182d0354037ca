r"""The debatable calls of answer matching, each a named option with a documented default.

Contract: pure data, checked when made (ValueError names the option and what it takes).

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """``docs/answers.md`` gives the reason of every default.

    - ``ignore_case``: words and the letters of choices in any case. In mathematics case always counts.
    - ``forms``: ``evaluated`` (a number must be worked out: numeral, fraction, power, root, multiple of pi), ``closed``
      (also ``5!``, logarithms ...), ``any`` (also ``17 * 24``).
    - ``units``: ``agree`` (optional, but two that are there must agree; never converted) or ``ignore``.
    - ``percent``: ``sign`` (``50%`` is 0.5, and 50 only if the question asks for a percentage) or ``either``.
    - ``tolerance``: a share of the known answer by which a number may be off; a problem's ``meta["tolerance"]`` wins.
    - ``thinking``: read the thinking part, too.
    - ``alternatives``: what a list in the answer column means: ``refuse`` (an error), ``any`` or ``all`` of them.
    - ``undecided``: an equality that is not shown within ``symbolic_limit_s`` seconds is a ``fail`` or an ``error``.
    """

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
