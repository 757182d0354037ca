r"""Units of an answer: where the number ends and they begin, which spellings are one unit, whether two agree.

Contract: pure. A unit is optional; where both sides (or the answer and the question) have one they must agree. Nothing
is converted: 5 cm is not 0.05 m. Words that change the number (million, dozen, cents of dollars) are never dropped.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from selfimprove.answers.context import SCALES
from selfimprove.answers.context import words as word_set

_SPELLINGS: dict[str, dict[str, str]] = {
    "length": {
        "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre", "m": "meter metre",
        "km": "kilometer kilometre", "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile",
    },
    "mass": {
        "mg": "milligram", "g": "gram gm", "kg": "kilogram kilo", "lb": "pound", "oz": "ounce",
        "ton": "tonne metric_ton",
    },
    "time": {
        "s": "sec second", "min": "minute", "h": "hour hr", "day": "", "week": "wk", "month": "", "year": "yr",
        "ms": "millisecond",
    },
    "volume": {"ml": "milliliter millilitre", "l": "liter litre", "gal": "gallon", "qt": "quart"}
    | {"cup": "", "pint": ""},
    "angle": {"degree": "deg", "rad": "radian"},
    "money": {"dollar": "usd buck", "cent": "¢", "euro": "eur", "pound_sterling": "gbp", "yen": "", "rupee": ""},
    "temperature": {"celsius": "", "fahrenheit": "", "kelvin": ""},
    "speed": {"mph": ""},
    "other": {
        "w": "watt", "kw": "kilowatt", "j": "joule", "n": "newton", "v": "volt", "hz": "hertz", "pa": "pascal",
        "mol": "mole", "unit": "", "point": "", "way": "", "time": "", "people": "person", "student": "", "item": "",
        "solution": "", "page": "", "mile/h": "",
    },
}  # fmt: skip
_CANONICAL = {
    spelling: name
    for units in _SPELLINGS.values()
    for name, others in units.items()
    for spelling in (name, *others.split())
}
_DIMENSION = {name: dimension for dimension, units in _SPELLINGS.items() for name in units}
_SIGNS = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound_sterling", "\u00a5": "yen", "\u20b9": "rupee"}
_FILLERS = word_set("in total altogether all of the per each a an left more")
_AFTER_HOW_MANY = word_set(
    "more are is were was do does did has have had will would can could in of total fewer less left "
    "different other times"
)
_NO_NOUNS = word_set("minus plus less perhaps always tens ones wrongs guess cents percents besides versus this")
_MACRO = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname|rm)"
_TAIL = re.compile(
    r"(?:\\[,;:! ]|\\q?quad|~|\s)*"
    rf"(?P<unit>{_MACRO}\s*\{{[^{{}}]*[A-Za-z][^{{}}]*\}}"
    rf"(?:\s*(?:\^\s*\{{?\s*-?[1-4]\s*\}}?|/\s*{_MACRO}\s*\{{[^{{}}]*\}}(?:\^\s*\{{?[1-4]\}}?)?|{_MACRO}\s*\{{[^{{}}]*\}}))*"
    r"|(?<=[0-9}) ])[A-Za-z][A-Za-z. ]*(?:\s*\^\s*\{?[1-4]\}?)?(?:\s*/\s*[A-Za-z]+(?:\^\{?[1-4]\}?)?)?"
    r"|\^\s*\{?\s*\\circ\s*\}?\s*(?:[CF]|\\?(?:text|mathrm)\s*\{\s*[CF]\s*\})?|\\degree)\s*\.?\s*$"
)
_HEAD = re.compile(
    rf"^\s*(?:\\\$|{_MACRO}\s*\{{\s*\\?[$\u20ac\u00a3]\s*\}}|[\u20ac\u00a3\u00a5\u20b9])\s*(?=[0-9.\\-])"
)


_HOW_MANY = re.compile(r"how many ((?:[a-z]+ ){0,3}[a-z]+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question says about units: in its last asking sentence (lower case), and in the whole prompt."""

    sentence: str
    prompt: str

    @property
    def percent(self) -> bool:
        return "percent" in self.sentence or "%" in self.sentence

    @property
    def words(self) -> frozenset[str]:
        """Words and units of the asking sentence."""
        return _mentioned(self.sentence)

    @property
    def everywhere(self) -> frozenset[str]:
        """Words and units of the whole prompt."""
        return _mentioned(self.prompt)

    @property
    def counted(self) -> str:
        """What "how many" is followed by, "" if that is no noun."""
        found = _HOW_MANY.search(self.sentence)
        words = found[1].split() if found else []
        return stem(words[0]) if words and words[0] not in _AFTER_HOW_MANY else ""


@functools.lru_cache(maxsize=1024)
def asked(prompt: str) -> Asked:
    """What a prompt asks for."""
    prompt = prompt[-4_000:]
    return Asked(_question(prompt), prompt.casefold())


def canonical(unit: str) -> str:
    """One spelling per unit: ``square centimeters``, ``cm^2`` and ``\\text{cm}^2`` are ``cm^2``."""
    unit = re.sub(_MACRO + r"\s*|[{}\\]", " ", unit).casefold()
    unit = re.sub(r"\^\s*circ\s*|\bdegrees?\s+", "degree ", unit).strip(" .")
    power = ""
    for pattern, meant in ((r"^(?:square|sq\.?)\s+|\s+squared$", "^2"), (r"^(?:cubic|cu\.?)\s+|\s+cubed$", "^3")):
        changed = re.sub(pattern, "", unit)
        if changed != unit:
            unit, power = changed, meant
    unit = re.sub(r"\s*\^\s*", "^", re.sub(r"\s+per\s+", "/", unit))
    unit = re.sub(r"\s*/\s*", "/", unit).strip()
    parts = [_one(part) for part in unit.split("/")]
    return "/".join(parts) + power


def _one(word: str) -> str:
    name, caret, power = word.partition("^")
    name = name.strip().rstrip(".")
    if name in ("degree c", "degree f"):
        name = {"degree c": "celsius", "degree f": "fahrenheit"}[name]
    known = _CANONICAL.get(name) or _CANONICAL.get(stem(name))
    return (known or stem(name)) + caret + power.strip()


def stem(words: str) -> str:
    """Plural and singular alike."""
    return " ".join(word.rstrip(".").removesuffix("s") if len(word) > 2 else word.rstrip(".") for word in words.split())


def split(text: str) -> tuple[str, str]:
    r"""``12\pi\text{ cm}^2`` as (``12\pi``, ``cm^2``); the unit is "" if the text does not end (or start) in one."""
    head = _HEAD.match(text)
    if head:
        sign = re.search(r"[$\u20ac\u00a3\u00a5\u20b9]", head[0])
        rest, behind = split(text[head.end() :])
        return (rest, behind) if behind else (rest, _SIGNS[sign[0]] if sign else "")
    tail = _TAIL.search(text[-120:])
    if tail is None or len(text) <= len(tail[0]):
        return text, ""
    body, unit = text[: len(text) - len(tail[0])], tail["unit"]
    bare = not unit.startswith("\\") and not unit.startswith("^")
    if bare and (
        re.search(r"(?<![\\A-Za-z])[A-Za-z]", re.sub(r"\\[A-Za-z]+|\be\b|\bpi\b", "", body)) or not known(unit)
    ):
        return text, ""
    name = canonical(unit)
    return (body, name) if name and name not in ("and", "or") else (text, "")


def known(unit: str) -> bool:
    """Whether all parts of a unit are in our table."""
    return all(re.sub(r"\^.*", "", part) in _DIMENSION for part in canonical(unit).split("/"))


def agree(mine: str, gold: str, question: Asked, plural: bool = False) -> bool:
    """Whether a canonical unit of an answer agrees with the known answer's and with the question.

    ``plural``: the answer writes it as the plural of a noun.
    """
    if not mine or mine == gold:
        return True
    if gold or set(mine.split()) & SCALES:
        return False
    dimension = _DIMENSION.get(re.sub(r"\^.*", "", mine))
    if dimension == "angle" or dimension == "money":
        for units in (lambda: question.words, lambda: question.everywhere):
            there = {name for name in units() if _DIMENSION.get(name) == dimension}
            if there:
                return mine in there
        return mine != "cent"
    if known(mine):
        there = {name for name in question.words if _DIMENSION.get(name) == dimension and name != "time"}
        return not there or re.sub(r"\^.*", "", mine) in there or "/" in mine or dimension == "other"
    words = [word for word in mine.split() if word not in _FILLERS and word != "total"]
    if any(len(word) < 2 or _doubtful(word) for word in words):
        return False
    counted = question.words if question.counted else question.everywhere
    if all(word in counted for word in words):
        return True
    # A prompt that asks for nothing in particular ("solve the problem") cannot contradict a thing that is counted.
    return "how" not in question.sentence and len(words) == 1 and mine == words[0] and plural


def is_plural(text: str) -> bool:
    """Whether a text ends in a word that looks like the plural of a noun."""
    last = re.search(r"([A-Za-z]{4,})[\s}.$]*$", text)
    return last is not None and last[1].endswith("s") and last[1].casefold() not in _NO_NOUNS


def _doubtful(word: str) -> bool:
    return word in {"not", "or", "nor", "maybe", "is", "wrong", "incorrect", "about", "around", "cent", "percent", "i"}


@functools.lru_cache(maxsize=1024)
def _mentioned(text: str) -> frozenset[str]:
    plain = re.sub(r"\\(?:text|mathrm)|[{}\\]", " ", text)
    words = {stem(word) for word in re.findall(r"[a-z]+", plain)}
    words -= {word for word in words if len(word) <= 2 and word in _DIMENSION}  # "in" is rarely an inch
    found = words | {_CANONICAL[word] for word in words if len(word) > 2 and word in _CANONICAL}
    found |= {_CANONICAL[word] for word in re.findall(r"(?<=[0-9 (])(?:mm|cm|m|km|kg|g|mg|ft|lb|oz|ml)\b", plain)}
    if "\u00b0" in text or "\\circ" in text:
        found.add("degree")
    if re.search(r"\\\$|\$ ?[0-9]", text) and not re.search(r"\$[^$]*[\\^=+][^$]*\$", text):
        found.add("dollar")
    return frozenset(found)


def _question(prompt: str) -> str:
    """The last sentence that asks, in lower case; without a question mark the whole prompt."""
    end = prompt.rfind("?")
    if end < 0:
        return prompt.casefold()
    start = max((match.end() for match in re.finditer(r"[.!?](?=\s)|\n", prompt[:end])), default=0)
    return prompt[start:end].casefold()
