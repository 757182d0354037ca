"""Text and numbers as people write them: cleaning, the policy's own words, exact quantities. Pure.

Contract: no model text is ever evaluated; every function is linear in its input, and numbers are compared exactly, as
fractions of integers. What is not clearly a number is not one (None).

See it work: ``pytest tests/test_text.py``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

MAX_QUANTITY_CHARS = 300
MAX_EXPONENT = 1000

_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")
# Any token of a chat template ends the policy's own words, but for those that some models put around an answer.
_END_OF_TURN = re.compile(
    r"<[|\uff5c](?!(?:begin|end)_of_box)[^<>|\uff5c\s]{1,40}[|\uff5c]>|</?s>|<(?:start|end)_of_turn>|<eos>"
    r"|\[/?INST\]|<</?SYS>>",
    re.I,
)
_TOKEN_MARKS = (
    "|>",
    "\uff5c>",
    "s>",
    "S>",
    "_turn>",
    "_TURN>",
    "[INST",
    "[/INST",
    "[inst",
    "[/inst",
)  # every such token has one
_ROLE = "user|human|system|assistant|instruction|teacher|tutor|grader|judge|evaluator|moderator"
_ROLES = tuple(_ROLE.split("|"))
_NEW_ROLE = re.compile(
    rf"^[ \t#*\[<]{{0,8}}(?:(?:{_ROLE}|question|problem|q)[ \t*\]>]{{0,4}}:|#{{1,6}}[ \t]*(?:{_ROLE})[ \t]*$"
    rf"|(?<=[\[<])(?:{_ROLE})[\]>])",
    re.I | re.M,
)
_THOUGHTS = ("think", "thinking", "thought", "reasoning")


def clean(text: str, limit: int) -> str:
    """``text`` with lone surrogates and NULs marked as U+FFFD and at most ``limit`` characters (the cut is said)."""
    if len(text) > limit:
        tail = f"... ({len(text)} characters)"
        text = text[: max(0, limit - len(tail))] + tail
    return text if text.isascii() and "\x00" not in text else _UNPRINTABLE.sub("\ufffd", text)


def own_words(completion: str) -> str:
    """The part of a completion that answers: after the thinking, before any invented turn of somebody else.

    Text up to the last ``</think>`` goes; a ``<think>`` that never closes leaves nothing behind it. The rest ends at
    the first end-of-turn token or line that opens a new turn (``User:``, ``Question:`` ...), unless that is how it
    starts. HTML comments go.
    """
    rest = completion
    if "<" in rest:
        rest = _after_thoughts(rest)
        if "<!--" in rest:
            rest = _without_comments(rest)
    if any(mark in rest for mark in _TOKEN_MARKS):
        rest = _own(rest, _END_OF_TURN)
    if ":" in rest or any(role in rest.casefold() for role in _ROLES):
        rest = _own(rest, _NEW_ROLE)
    return rest.strip()


def _own(text: str, pattern: re.Pattern[str]) -> str:
    text = text.lstrip()
    first = pattern.match(text)
    start = first.end() if first else 0
    found = pattern.search(text, start)
    return text[start : found.start()] if found else text[start:]


def _after_thoughts(text: str) -> str:
    for name in _THOUGHTS:
        closing, opening = f"</{name}>", f"<{name}>"
        _, closed, rest = text.rpartition(closing)
        if closed or opening in rest:
            text = rest.partition(opening)[0] if closed else ""
    return text


def _without_comments(text: str) -> str:
    kept, place = [], 0
    while (start := text.find("<!--", place)) >= 0:
        kept.append(text[place:start])
        end = text.find("-->", start)
        if end < 0:
            return "".join(kept)
        place = end + 3
    return "".join(kept) + text[place:]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as written: ``value`` (a percent sign not applied), whether it is a percentage, and its unit's words."""

    value: Fraction
    percent: bool = False
    unit: str = ""


def quantity(text: str) -> Quantity | None:
    """The number that ``text`` is, or None if it is anything else.

    Integers, decimals, ``1,234.5`` (groups of exactly three), ``1/2``, ``1 1/2``, ``\\frac{1}{2}``, ``\\frac12``,
    ``1e6``, ``1.5 x 10^6``; a sign; a currency sign; ``%``; up to three words of unit. Unicode digits (decimal ones),
    minus signs, vulgar fractions and thin spaces between thousands are read; LaTeX dressing (``$``, ``\\text``,
    ``\\,``) is taken off. Not numbers: ``4 2``, ``1,00,0``, ``3,5``, ``4_2``, superscripts, circled digits, text with
    bidirectional controls, expressions, inequalities, ranges, lists, exponents above 1000, more than 300 characters.
    """
    if len(text) > MAX_QUANTITY_CHARS:
        return None
    match = _QUANTITY.fullmatch(plain(text))
    if match is None:
        return None
    value = _value(match)
    if value is None:
        return None
    unit = " ".join(match["unit"].split()).casefold()
    return Quantity(value, bool(match["percent"]), "degree" if unit in _DEGREES else unit)


def canonical(value: Fraction) -> str:
    """One spelling per number: ``42``, ``-0.5`` where the decimals end within 30 places, else ``1/3``."""
    below, places = value.denominator, 0
    while places < 30 and 10**places % below:
        places += 1
    if 10**places % below:
        return f"{value.numerator}/{below}"
    digits = str(abs(value.numerator) * (10**places // below)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def plain(text: str) -> str:
    """``text`` without LaTeX and Markdown dressing, its digits, minus signs and spaces in ASCII. Letters stay."""
    if not text.isascii():
        text = _ascii(text)
    text = _UNICODE_GROUP.sub("", text.strip())
    for pattern, replacement in _DRESSING:
        text = pattern.sub(replacement, text)
    text = " ".join(text.replace("$", " ").split())
    return text[:-1].rstrip() if text.endswith(".") else text


_DEGREES = ("degree", "degrees", "deg")
_MINUS = dict.fromkeys(map(ord, "\u2212\u2013\u2010\u2011\ufe63\uff0d"), "-")
_SYMBOLS = {0x00D7: " x ", 0x22C5: " x ", 0x00B0: " degrees", 0xFF0E: ".", 0xFF0C: ",", 0xFF0B: "+", 0xFF05: "%"}
_OTHERS = {0x2044: "/", 0x2215: "/", 0xFEFF: " ", 0x200B: " ", 0x00A0: "\u202f", 0x2009: "\u202f"}
_TABLE = {**_MINUS, **_SYMBOLS, **_OTHERS}
_UNICODE_GROUP = re.compile("(?<=[0-9])\u202f(?=[0-9]{3}(?![0-9]))")
_NUMBER = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]*)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_POWER = r"(?:[eE](?P<e>[+-]?[0-9]{1,4})(?![0-9])| ?x ?10 ?\^ ?\{? ?(?P<ten>[+-]?[0-9]{1,4}) ?\}?)"
_QUANTITY = re.compile(
    rf"(?P<sign>[+-]? ?)[\u20ac\u00a3\u00a5\u20b9]? ?(?P<inner>[+-]?)"
    rf"(?P<a>{_NUMBER})(?:{_POWER}|(?: (?P<over>{_NUMBER}))? ?/ ?(?P<below>[+-]?{_NUMBER}))?"
    rf" ?(?P<percent>(?:%|percent\b)?)[\u20ac\u00a3\u00a5\u20b9]?"
    rf"(?P<unit>(?: ?[a-zA-Z]+\.?)?(?: [a-zA-Z]+\.?){{0,2}})"
)
# In this order: a command goes before the sign or space that it is made of.
_DRESSING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\(?:left|right|displaystyle|limits)(?![a-zA-Z])|`"), " "),
    (re.compile(r"(?<![0-9A-Za-z)])\*\*|\*\*(?![0-9A-Za-z(])"), " "),  # bold; between two operands it is a power
    (re.compile(r"(?<=,)\\!"), ""),
    (re.compile(r"\\[dtc]?frac *\{ *([^{}\\]{1,99}) *\} *\{ *([^{}\\]{1,99}) *\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac *([0-9]) *([0-9])(?![0-9])"), r" \1/\2"),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textrm|operatorname) *\{([^{}]{0,99})\}"), r" \1 "),
    (re.compile(r"\^ *(?:\{ *)?\\circ *\}?|\\degree"), " degrees"),
    (re.compile(r"\\times(?![a-zA-Z])|\\cdot(?![a-zA-Z])"), " x "),
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\,)(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\[,;:! ]|\\quad(?![a-zA-Z])|(?<=\w)~(?=\w)|\\[()\[\]]"), " "),
    (re.compile(r"\\([%$])"), r"\1"),
)


def _ascii(text: str) -> str:
    """Decimal digits of any script, minus signs and fraction characters as ASCII; everything else unchanged."""
    parts = []
    for char in text.translate(_TABLE):
        if char.isascii():
            parts.append(char)
        elif unicodedata.category(char) == "Nd":
            parts.append(str(unicodedata.decimal(char)))
        elif "<fraction>" in unicodedata.decomposition(char):
            parts.append(" " + unicodedata.normalize("NFKC", char).replace("\u2044", "/"))
        else:
            parts.append(char)
    return "".join(parts)


def _value(match: re.Match[str]) -> Fraction | None:
    value = _exact(match["a"])
    if match["below"]:
        below = _exact(match["below"])
        if below == 0:
            return None
        value = value / below if match["over"] is None else value + _exact(match["over"]) / below
    power = int(match["e"] or match["ten"] or 0)
    if abs(power) > MAX_EXPONENT:
        return None
    value *= Fraction(10) ** power
    return -value if (match["sign"].strip() == "-") != (match["inner"] == "-") else value


def _exact(digits: str) -> Fraction:
    sign = -1 if digits.startswith("-") else 1
    whole, _, decimals = digits.lstrip("+-").replace(",", "").partition(".")
    return sign * Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
