"""Final answers: which words of a completion they are, what they say, and whether two say the same.

Contract: pure and deterministic but for `selfimprove.answers.symbolic`, which owns one helper process. Importing this
package imports nothing heavy; names are looked up at first use. Nothing here evaluates, looks up or executes text.

See it work: ``pytest tests/answers``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.answers import countdown
    from selfimprove.answers.compare import Unjudgeable, difference, same_text
    from selfimprove.answers.extraction import Found, by_pattern, concluded, last_line, marked
    from selfimprove.answers.golds import Known, known
    from selfimprove.answers.latex import parse
    from selfimprove.answers.policy import Policy
    from selfimprove.answers.reading import Answer, final, joined, read, stated
    from selfimprove.answers.symbolic import HelperLost

_HOMES = {
    "Answer": "reading",
    "Found": "extraction",
    "HelperLost": "symbolic",
    "Known": "golds",
    "Policy": "policy",
    "Unjudgeable": "compare",
    "by_pattern": "extraction",
    "concluded": "extraction",
    "difference": "compare",
    "final": "reading",
    "stated": "reading",
    "joined": "reading",
    "known": "golds",
    "last_line": "extraction",
    "marked": "extraction",
    "parse": "latex",
    "read": "reading",
    "same_text": "compare",
}

__all__ = [
    "Answer",
    "Found",
    "HelperLost",
    "Known",
    "Policy",
    "Unjudgeable",
    "by_pattern",
    "concluded",
    "countdown",
    "difference",
    "final",
    "joined",
    "known",
    "last_line",
    "marked",
    "parse",
    "read",
    "same_text",
    "stated",
]


def __getattr__(name: str) -> Any:
    if name == "countdown":
        return import_module(f"{__name__}.countdown")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
