"""What a judging model said, read strictly: a verdict, or None.

Contract: pure and linear. Only the judge's own final message counts (after its thinking, out of its fences); a verdict
stands on the last line and fills it; two different ones, one out of range, a range or an echoed template are no
verdict. None means that the judge could not be read: an error for whoever asked, never a score.

See it work: ``pytest tests/judging``.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_CHARS = 100_000
_NUMBER = r"(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)"
_SCORE = re.compile(
    rf"^[\W_]{{0,8}}(?:(?:final|overall|total|my)\W{{1,3}})?(?:score|rating|grade)[\s*_]{{0,4}}[:=][\s*_]{{0,4}}{_NUMBER}"
    rf"(?:[ \t]*/[ \t]*([0-9]{{1,6}}))?(?![\w/])(.*)$",
    re.I,
)
_RATED = re.compile(rf"(?:rating|score)\W{{0,4}}\[\[{_NUMBER}\]\]\W{{0,3}}$", re.I)
_BRACKETED = re.compile(rf"\[\[{_NUMBER}\]\]")
_CHOICE = re.compile(r"\[\[([A-Z])\]\]")
_LABEL = re.compile(r"^(?:final |my )?(?:verdict|answer|judge?ment|result|conclusion|decision)\s*[:=]\s*", re.I)


def final_message(text: str) -> list[str]:
    """The lines of the last message that say something, without fences."""
    text = text[-MAX_CHARS:].rpartition("</think>")[2]
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    return [line for line in lines if line and not line.startswith(("```", "~~~"))]


def score(text: str, low: float, high: float, *, integer: bool = True) -> float | None:
    """``Score: n`` or ``Score: n/high`` on the last line. Lines before it that start so must agree."""
    lines = final_message(text)
    last = _SCORE.match(lines[-1]) if lines else None
    if last is None or last[3].strip(" .!*_`)"):
        return None
    found = {_scored(match, low, high, integer) for line in lines if (match := _SCORE.match(line))}
    return found.pop() if len(found) == 1 else None


def _scored(match: re.Match[str], low: float, high: float, integer: bool) -> float | None:
    if match[2] is not None and float(match[2]) != high:
        return None
    return _in_range(match[1], low, high, integer)


def rating(text: str, low: float, high: float, *, integer: bool = True) -> float | None:
    """``[[n]]`` on the last line: after "Rating:", or the only one there."""
    lines = final_message(text)
    if not lines:
        return None
    rated = _RATED.search(lines[-1])
    found = _BRACKETED.findall(lines[-1])
    if rated is None and len(set(found)) != 1:
        return None
    return _in_range(rated[1] if rated else found[0], low, high, integer)


def json_score(text: str, low: float, high: float, *, key: str = "score", integer: bool = True) -> float | None:
    """The number under ``key`` of the one JSON object that has it. No NaN, no text, no key twice."""
    message = "\n".join(final_message(text))
    found: set[float | None] = set()
    place, tries = message.find("{"), 0
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
    while place >= 0 and tries < 200:
        tries += 1
        try:
            value, end = decoder.raw_decode(message, place)
        except (ValueError, RecursionError):
            found |= {None} if message[place : place + 40].replace(" ", "").startswith('{"' + key) else set()
            end = place + 1
        else:
            if isinstance(value, dict) and key in value:
                found.add(_plain(value[key], low, high, integer))
        place = message.find("{", end)
    return found.pop() if len(found) == 1 else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _plain(value: Any, low: float, high: float, integer: bool) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _in_range(repr(value), low, high, integer)


def _in_range(text: str, low: float, high: float, integer: bool) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not low <= value <= high or (integer and value != int(value)):
        return None
    return value


def binary(text: str, yes: str = "CORRECT", no: str = "INCORRECT") -> bool | None:
    """A whole word on the last line, alone or after "Verdict:". Another line that is the other word contradicts it."""
    words = {yes.casefold(): True, no.casefold(): False}
    lines = [_LABEL.sub("", line.strip(" *_`#>\"'")).strip(" *_`.!\"'").casefold() for line in final_message(text)]
    if not lines or lines[-1] not in words:
        return None
    found = {words[line] for line in lines if line in words}
    return found.pop() if len(found) == 1 else None


def choice(text: str, letters: str = "ABC") -> str | None:
    """``[[A]]``, ``[[B]]`` or ``[[C]]`` (a tie): the only one in the message."""
    found = set(_CHOICE.findall("\n".join(final_message(text))))
    return found.pop() if len(found) == 1 and found <= set(letters) else None
