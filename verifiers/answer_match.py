"""The final answer equals the known one: numbers exactly, everything else as text.

Contract: one answer is read from a completion, by rules that do not look at the known answer's value, so listing
candidates wins nothing; it passes only if it equals `Problem.answer`. Nothing is evaluated. Time is linear in the
completion's length (a ``pattern`` of your own excepted: the pool's deadline bounds that).

See it work: ``pytest tests/verifiers/test_answer_match.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from selfimprove import Problem, Sample, Verdict, failing, passing
from selfimprove import text as writing

MAX_CHARS = 200_000
MAX_ANSWER_CHARS = 2_000
MAX_RIVALS = 32


def answer_match(problem: Problem, sample: Sample, *, pattern: str | None = None, ignore_case: bool = True) -> Verdict:
    r"""Pass if the completion's final answer is ``problem.answer``.

    **What is read.** Text after the last ``</think>``, up to an end-of-turn token or an invented turn
    (``User:``, ``Question:``). There the first of these that exists is *the* answer:

    1. ``pattern`` (a regular expression: its last match, group 1 if it has groups) and nothing else, if you give one;
    2. the last of ``#### x``, ``\boxed{x}`` / ``\fbox{x}`` and ``<answer>x</answer>``, by position. An empty or
       unclosed last box is no answer. ``####`` before words or a list number is a heading, not an answer;
    3. the last "the answer is x" / "Answer: x", to the end of its sentence;
    4. the last line, if the whole of it is a number or the known text;
    5. for a known number: the number that ends the last sentence of the last line, if the sentence holds one number
       only, or one after its last ``=``, and no word of doubt (not, or, maybe, unknown, ...).

    **Hedges fail.** Two different answers of the same kind on the answer's line fail, unless a word between them takes
    the first back (wait, actually, correct, ...). "3 or 4", "not 42", "17 = 42", "> 41", "about 42" are no answers.

    **Equality.** Numbers by exact value: ``1,234.50`` is ``1234.5``, ``1/2`` is ``0.5``, ``-0`` is ``0``; what
    `selfimprove.text.quantity` does not read is no number. Currency signs are ignored. If the question asks for a
    percentage, ``42%`` and ``42`` are equal, else ``50%`` is ``0.5``. A unit is optional; one that the known answer has
    must agree, one that it lacks must stand in the question ("42 apples"; "42 cents" is not 42 dollars), and scale
    words ("42 million") never may. ``x = 42`` reads as 42. Text is equal after dressing (``$``, ``\text``, ``**``,
    quotes, a full stop, brackets around one letter), spaces around punctuation and (``ignore_case``) case are taken
    off.

    The known answer may be a number, a string, or a whole solution that ends in ``#### x`` or ``\boxed{x}``.

    Returns a verdict whose ``answer`` is what was read (numbers in one canonical spelling, so that votes can be
    counted). Raises ValueError if the problem has no answer: nothing can be said of the sample then.
    """
    gold = _gold(problem)
    text = writing.own_words(sample.prefix + sample.completion)[-MAX_CHARS:]
    found = _by_pattern(text, pattern) if pattern else _final(text, gold.quantity is not None)
    if found is None and pattern is None:
        found = _unmarked(text, gold, problem, ignore_case)
    if found is None:
        return failing("no final answer found")
    if found.problem:
        return failing(found.problem, answer=found.text)
    number = _number(found.text)
    answer = found.text if number is None else _spelled(number)
    if _equal(found.text, number, gold, problem, ignore_case):
        return passing(answer=answer)
    return failing(f"expected {gold.text[:200]!r}, got {found.text[:200]!r}", answer=answer)


class _Gold(NamedTuple):
    text: str
    quantity: writing.Quantity | None


class _Found(NamedTuple):
    """An answer as written, where it starts, and what is wrong with it as an answer ("" if nothing)."""

    text: str
    start: int
    problem: str = ""


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.S)
_NESTED = re.compile(r"^(?:\\(?:boxed|fbox)\s*\{\s*)+")
_HASH = re.compile(r"####[ \t]*([^\n#]*)")
_HEADING = re.compile(r"[0-9]{1,3}[.):][ \t]+[A-Za-z]")
_STATED = re.compile(r"\banswer(?:[ \t]+(?:is|was)\b[ \t]*:?|[ \t]*\**[ \t]*[:=])[ \t*]*", re.I)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_AFTERTHOUGHT = re.compile(r"[,;]?\s+\(?(?:because|since|which|as|so)\b", re.I)
_RETRACTION = re.compile(
    r"\b(?:wait|no|actually|correct\w*|sorry|instead|wrong|incorrect|mistake|oops|rather|re-?check\w*|reflection)\b",
    re.I,
)
_DOUBT = re.compile(
    r"\b(?:not|or|nor|maybe|perhaps|possibly|either|might|could|cannot|unknown|unsure|unclear|guess|probably|about"
    r"|approximately|around|between)\b|n't\b|[<>\u2248\u2260\u2264\u2265\u00b1~?]",
    re.I,
)
_LOOSE_NUMBER = re.compile(
    r"(?<![\w.,/^_-])-?[\u20ac\u00a3]?(?:[0-9]+(?:,[0-9]{3})*|(?=\.))(?:\.[0-9]+)?(?:/[0-9]+)?%?(?![\w^_/*]|[.,-][0-9])"
)
_FILLERS = frozenset({"in", "total", "altogether", "all", "of", "the", "per", "each", "a"})
_SCALES = frozenset({"hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "double"})
_SCALES |= {"k", "mn", "bn", "cent", "cents"}
_NAMED = re.compile(r"^[A-Za-z](?:_?[0-9A-Za-z])?\s*=\s*")
_QUOTES = "\"'\u201c\u201d\u2018\u2019"


def _gold(problem: Problem) -> _Gold:
    value: Any = problem.answer
    if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
        what = "has no answer" if value is None else f"has an answer of type {type(value).__name__}"
        raise ValueError(f"problem {problem.id!r} {what}: answer_match needs a number or a string in the answer column")
    text = value if isinstance(value, str) else _decimal(value)
    if "####" in text or "\\boxed" in text:
        solution = _final(text, numeric=False)
        text = solution.text if solution and not solution.problem else ""
    text = text.strip()
    if not text or len(text) > MAX_ANSWER_CHARS:
        what = f"an answer longer than {MAX_ANSWER_CHARS} characters" if text else "an empty answer"
        raise ValueError(f"problem {problem.id!r} has {what}: answer_match needs a number or a short string")
    return _Gold(text, _number(text))


def _decimal(value: int | float | Fraction) -> str:
    """A float means the shortest decimal that prints it: 0.1 is one tenth."""
    return repr(value) if isinstance(value, float) else writing.canonical(Fraction(value))


def _by_pattern(text: str, pattern: str) -> _Found | None:
    matches = [
        _Found((match[1] if match.re.groups else match[0]) or "", match.start()) for match in re.finditer(pattern, text)
    ]
    return _last(text, matches)


def _final(text: str, numeric: bool) -> _Found | None:
    """Rules 2 and 3: the explicit markers."""
    strong = [_last(text, list(found)) for found in (_hashes(text, numeric), _boxes(text), _tags(text))]
    present = [found for found in strong if found is not None]
    if present:
        return max(present, key=lambda found: found.start)
    return _last(text, list(_stated(text)))


def _last(text: str, found: list[_Found]) -> _Found | None:
    """The last answer of one kind, unless its line states another one that was not taken back."""
    if not found:
        return None
    last = found[-1]
    if len(last.text) > MAX_ANSWER_CHARS:
        return _Found(last.text[:100], last.start, "the final answer is too long")
    line = text.rfind("\n", 0, last.start) + 1
    following = last
    for other in reversed(found[-MAX_RIVALS:-1]):
        if other.start < line:
            break
        between = text[other.start + len(other.text) : following.start]
        if not _same(other.text, last.text) and not _RETRACTION.search(between):
            return last._replace(problem="several final answers on one line")
        following = other
    return last


def _same(one: str, two: str) -> bool:
    """Whether two markers of a line say the same; a box directly in a box is one answer."""
    one, two = _NESTED.sub("", one).rstrip("}"), two.rstrip("}")
    numbers = _number(one), _number(two)
    return _key(one, True) == _key(two, True) or (numbers[0] is not None and numbers[0] == numbers[1])


def _hashes(text: str, numeric: bool) -> Iterator[_Found]:
    """For a known number, an answer starts like one; for known text, it stands on the last line."""
    last_line = text.rstrip().rfind("\n")
    for match in _HASH.finditer(text):
        value = match[1].strip().strip("*").strip()
        heading = (value[:1].isalpha() or _HEADING.match(value)) if numeric else match.start() < last_line
        if value and not heading:
            yield _Found(value, match.start())


def _boxes(text: str) -> Iterator[_Found]:
    """Balanced boxes in order of their start; the last one started, if it never closes, is an empty answer."""
    stack: list[tuple[int, int] | None] = []
    boxes: list[_Found] = []
    opened = -1
    for match in _BOX.finditer(text, max(0, text.find("\\"))):
        token = match[0]
        if token == "}":
            start = stack.pop() if stack else None
            if start is not None:
                end = min(match.start(), start[1] + MAX_ANSWER_CHARS + 1)  # boxes nest: whole copies would be quadratic
                boxes.append(_Found(text[start[1] : end].strip(), start[0]))
        elif token[-1] == "{" and token != "\\{":
            is_box = len(token) > 1
            opened = match.start() if is_box else opened
            stack.append((match.start(), match.end()) if is_box else None)
    boxes.sort(key=lambda box: box.start)
    if opened >= 0 and (not boxes or boxes[-1].start != opened):
        boxes.append(_Found("", opened, "the last box is not closed"))
    yield from (box if box.text else box._replace(problem=box.problem or "the last box is empty") for box in boxes)


def _tags(text: str) -> Iterator[_Found]:
    for part in re.finditer(r"<answer>([^<]*)</answer>", text):
        yield _Found(part[1].strip(), part.start())


def _stated(text: str) -> Iterator[_Found]:
    for match in list(_STATED.finditer(text))[-MAX_RIVALS:]:
        value = text[match.end() : match.end() + MAX_ANSWER_CHARS + 1].lstrip("\n \t*")
        end = _SENTENCE_END.search(value)
        value = _AFTERTHOUGHT.split(value[: end.start()] if end else value, maxsplit=1)[0]
        yield _Found(value.strip().strip("*").strip(), match.start())


def _unmarked(text: str, gold: _Gold, problem: Problem, ignore_case: bool) -> _Found | None:
    """Rules 4 and 5, on the last line."""
    line = text.rpartition("\n")[2].strip()
    if len(line) > MAX_ANSWER_CHARS:
        return None
    number = _number(line)
    if number is not None or _equal(line, None, gold, problem, ignore_case):
        return _Found(line, 0)
    return _loose(writing.plain(line)) if gold.quantity else None


def _loose(line: str) -> _Found | None:
    """The one number of the last sentence, or the one after its last "="."""
    sentence = [part for part in _SENTENCE_END.split(line.rstrip(".!* ")) if part.strip()][-1:]
    if not sentence or _DOUBT.search(sentence[0]):
        return None
    pieces = sentence[0].split("=")
    numbers = list(_LOOSE_NUMBER.finditer(pieces[-1]))
    if len({_key(number[0], True) for number in numbers}) != 1:
        return None
    after = pieces[-1][numbers[-1].end() :].split(maxsplit=1)
    if after and after[0].strip(".,;:").casefold() in _SCALES:
        return None
    found = _number(numbers[-1][0])
    chain = [_number(piece) for piece in pieces[:-1]]  # "17 = 42" and "1 = 2 = 42" state no answer
    if found is None or any(number is not None and number.value != found.value for number in chain):
        return None
    return _Found(numbers[-1][0], 0)


def _number(text: str) -> writing.Quantity | None:
    return writing.quantity(_NAMED.sub("", writing.plain(text))) if len(text) <= 400 else None


def _spelled(number: writing.Quantity) -> str:
    unit = f" {number.unit}" if number.unit else ""
    return f"{writing.canonical(number.value)}{'%' if number.percent else ''}{unit}"


def _equal(text: str, number: writing.Quantity | None, gold: _Gold, problem: Problem, ignore_case: bool) -> bool:
    if gold.quantity is None or number is None:
        return len(text) <= 1000 + len(gold.text) and _key(text, ignore_case) == _key(gold.text, ignore_case)
    asked = _question(problem.prompt[-1].content if problem.prompt else "")
    return _same_value(number, gold.quantity, asked) and _unit_agrees(number.unit, gold.quantity.unit, asked, problem)


def _same_value(mine: writing.Quantity, gold: writing.Quantity, asked: str) -> bool:
    if mine.percent == gold.percent or "%" in asked or "percent" in asked:
        return mine.value == gold.value
    return mine.value / (100 if mine.percent else 1) == gold.value / (100 if gold.percent else 1)


def _unit_agrees(mine: str, gold: str, asked: str, problem: Problem) -> bool:
    if not mine or _stem(mine) == _stem(gold):
        return True
    if gold or _DOUBT.search(mine):
        return False
    prompt = problem.prompt[-1].content if problem.prompt else ""
    known = {*_stem(re.sub(r"[^a-z]+", " ", asked)).split()} - {"is", "wrong"}
    if "\u00b0" in asked or "\\circ" in asked:
        known.add("degree")
    if "cent" not in known and ("$" in prompt or "dollar" in prompt.casefold()):
        known.add("dollar")
    words = [word for word in _stem(mine).split() if word not in _FILLERS]
    return all(word in known and word not in _SCALES and len(word) > 1 for word in words)


def _question(prompt: str) -> str:
    """The last sentence that asks, in lower case; without a question mark the whole prompt."""
    end = prompt.rfind("?")
    if end < 0:
        return prompt.casefold()
    starts = [match.end() for match in _SENTENCE_END.finditer(prompt[:end])]
    return prompt[starts[-1] if starts else 0 : end].casefold()


def _stem(words: str) -> str:
    """Plural and singular alike."""
    return " ".join(word.rstrip(".").removesuffix("s") for word in words.split())


def _key(text: str, ignore_case: bool) -> str:
    """What equal texts have in common."""
    key = re.sub(r"\s*([,;()\[\]{}=+*/^-])\s*", r"\1", writing.plain(text).strip(_QUOTES + " ").removesuffix("."))
    if len(key) == 3 and key[0] + key[2] in ("()", "[]"):
        key = key[1]
    return key.casefold() if ignore_case else key
