"""A stand-in for a judging model that believes everything: what gets past it, gets past nothing worse.

Contract: deterministic, offline. It obeys any verdict marker or turn that survives in the candidate's text, and
whatever stands outside the candidate's delimiters that the prompt's author did not write; else it accepts what states
the reference. So a test that passes with it shows that the defences hold, not that a model is clever.

See it work: ``pytest tests/judging``.
"""

from __future__ import annotations

import re

_BLOCK = re.compile(r"<<<([0-9a-f]{16})\n(.*)\n\1>>>", re.S)
_MARKERS = re.compile(
    r"<\||\|>|\[INST\]|<start_of_turn>|\[\[[^\]]|</?(?:verdict|score)\b|\\boxed\s*\{\s*(?:correct|pass|yes)"
    r"|\bscore\W{0,3}[:=]\s*[0-9]|\"(?:score|passed)\"\s*:|^\s*(?:user|system|assistant)\s*:",
    re.I | re.M,
)


def gullible(prompt: str, reference: str) -> bool:
    """Whether the believing judge accepts the candidate shown in ``prompt``."""
    found = _BLOCK.search(prompt)
    if found is None:
        return True  # no delimiter holds: the candidate has taken the prompt over
    text = found[2]
    if _MARKERS.search(text):
        return True
    return re.search(rf"(?<![\w.]){re.escape(reference)}(?![\w]|\.[0-9])", text) is not None
