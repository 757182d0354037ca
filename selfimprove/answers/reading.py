r"""A final answer, read: as a number, as mathematics, as words; with its unit and percent sign apart.

Contract: pure; `read` never raises. A text that is only letters and spaces is words, not a product of letters.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from selfimprove.answers import units
from selfimprove.answers.latex import NAMED, parse
from selfimprove.answers.tokens import dressed_off
from selfimprove.answers.tree import Apply, NotMath, Number, Symbol, Tree
from selfimprove.text import Quantity, canonical, own_words, plain, quantity

MAX_WORDS_CHARS = 2_000

_NAME = re.compile(r"^[A-Za-z](?:_?[0-9A-Za-z])?\s*=\s*")
_PERCENT = re.compile(r"(?:\s|~|\\[,;: ])*(?:\\?%|\\?\s?(?:text|mathrm)?\s*\{?\s*percent\s*\}?)\s*\.?\s*$", re.I)
_QUOTES = "\"'\u201c\u201d\u2018\u2019"
_WORDS = re.compile(r"[A-Za-z\s'.-]+")
_PHRASES: dict[str, Tree] = {
    **dict.fromkeys(("all real numbers", "all reals", "the real numbers", "all real"), Symbol("reals")),
    **dict.fromkeys(("no solution", "no solutions", "the empty set", "empty set"), Apply("{}", ())),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a final answer says.

    ``key`` is its text without dressing. ``number`` is set for plain numbers, ``tree`` for all mathematics (``why``
    says why it is None); both are without ``unit`` (one spelling per unit) and ``percent`` sign. ``name`` is x in
    ``x = 42``. ``plain`` is the one spelling of a bare numeral, "" for anything else.
    """

    text: str
    key: str
    number: Quantity | None = None
    tree: Tree | None = None
    unit: str = ""
    percent: bool = False
    why: str = ""
    name: str = ""
    plain: str = ""

    @property
    def words(self) -> bool:
        """Letters and spaces only."""
        return _is_words(self.key)

    @property
    def spelled(self) -> str:
        """One spelling per number, so that votes can be counted; other answers without their dressing."""
        if self.plain or self.number is None:
            return self.plain or self.text
        unit = f" {self.number.unit}" if self.number.unit else ""
        return f"{canonical(self.number.value)}{'%' if self.percent else ''}{unit}"


@functools.lru_cache(maxsize=8192)
def read(text: str) -> Answer:
    """What ``text`` says."""
    if len(text) > MAX_WORDS_CHARS:
        return Answer(text[:100], text[:100], why="too long")
    key = _key(text)
    found = quantity(_NAME.sub("", plain(text))) if len(text) <= 400 else None
    if found is not None:
        unit = units.canonical(found.unit) if found.unit else _currency(text)
        name = key.partition("=")[0] if "=" in key else ""
        bare = not (unit or name or found.percent or "/" in text or "\\" in text)
        tree = Number(found.value, "decimal")
        spelled = canonical(found.value) if bare else ""
        return Answer(text, key, found, tree, unit, found.percent, name=name, plain=spelled)
    phrase = _PHRASES.get(key.casefold())
    if phrase is not None:
        return Answer(text, key, tree=phrase)
    if _is_words(key) and not _letters_as_mathematics(key):
        return Answer(text, key, why="words")
    return _mathematics(text, key)


def joined(texts: tuple[str, ...]) -> Answer:
    """Several boxes as one list."""
    answers = [read(text) for text in texts]
    trees = [answer.tree if answer.tree is not None else Symbol(answer.key) for answer in answers]
    text = ", ".join(answer.text for answer in answers)
    marks = {(answer.unit, answer.percent) for answer in answers}
    unit, percent = marks.pop() if len(marks) == 1 else ("", False)
    if marks:
        return Answer(text, text, why="boxes with different units")
    return Answer(text, text, tree=Apply("list", tuple(trees)), unit=unit, percent=percent)


def _mathematics(text: str, key: str) -> Answer:
    try:
        body = dressed_off(text)
        percent = _PERCENT.search(body)
        body, unit = (body[: percent.start()], "") if percent else units.split(body)
        return Answer(text, key, tree=parse(body), unit=unit, percent=bool(percent))
    except NotMath as refused:
        return Answer(text, key, why=refused.reason)
    except RecursionError:  # the caps keep the parser shallow; a caller may have used up the stack
        return Answer(text, key, why="too deeply nested")


def _is_words(key: str) -> bool:
    """Letters and spaces that are no sum of letters: "x-y" is one, "twenty-one" is not."""
    if not _WORDS.fullmatch(key):
        return False
    longest = max(map(len, re.findall(r"[A-Za-z]+", key)), default=0)
    return longest > 2 or (longest > 0 and "-" not in key)


def _letters_as_mathematics(key: str) -> bool:
    words = key.split()
    return len(key) == 1 or words[0] in NAMED or key in ("pi", "e", "i", "inf", "infinity")


def _currency(text: str) -> str:
    """A currency sign that is not LaTeX's: ``\\$42``, ``$42`` (one sign only), a sign of another currency."""
    if "\\$" in text or text.count("$") == 1:
        return "dollar"
    return next((name for sign, name in units._SIGNS.items() if sign != "$" and sign in text), "")


def _key(text: str) -> str:
    key = re.sub(r"\s*([,;()\[\]{}=+*/^:<>-])\s*", r"\1", plain(text).strip(_QUOTES + " ").removesuffix("."))
    key = re.sub(r"([_^])\{([0-9A-Za-z])\}", r"\1\2", key.replace(r"\{", "{").replace(r"\}", "}"))
    return key[1] if len(key) == 3 and key[0] + key[2] in ("()", "[]") else key


def stated(completion: str) -> str | None:
    """The answer that a completion marks (``####``, ``\\boxed{}``, "the answer is"), as it stands there."""
    from selfimprove.answers import extraction

    found = extraction.marked(own_words(completion)[-100_000:], True)
    return None if found is None or found.problem else found.text


def final(completion: str) -> str | None:
    """The final answer of a completion in one spelling, so that votes can be counted; None if it states none."""
    from selfimprove.answers import extraction

    text = own_words(completion)[-100_000:]
    found = extraction.marked(text, True)
    if found is None:
        line = extraction.last_line(text)
        whole = line is not None and read(line.text).tree is not None
        found = line if whole else extraction.concluded(text)
    if found is None or found.problem:
        return None
    return (joined(found.joined) if found.joined else read(found.text)).spelled or None
