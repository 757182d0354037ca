r"""Which words of a completion are its final answer.

Contract: the rules never look at the known answer's value, so listing candidates wins nothing. The first of these that
exists is the answer: the last of ``\boxed{x}``, ``#### x`` and ``<answer>x</answer>`` by position (a box that another
marker contradicts later is no answer); the last "the answer is x" / "Answer: x"; a last line that is an expression; the
number that a last sentence concludes with. A last box or tag that is empty or not closed is no answer, nor is one that
its own sentence denies, doubts, strikes out or takes back. Time is linear in the text.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from selfimprove.answers import context
from selfimprove.text import plain, quantity

MAX_ANSWER_CHARS = 2_000
MAX_RIVALS = 32


class Found(NamedTuple):
    """An answer as written, where it starts and ends, and what is wrong with it as an answer ("" if nothing).

    ``joined`` holds all the boxes of a list (``\\boxed{1} and \\boxed{2}``), the last one included; else it is empty.
    """

    text: str
    start: int
    end: int = -1
    problem: str = ""
    joined: tuple[str, ...] = ()


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.S)
_INNER_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_HASH = re.compile(r"####[ \t]*([^\n#]*)")
_HEADING = re.compile(r"[0-9]{1,3}[.):][ \t]+[A-Za-z]|[A-Za-z]{2,}")
_TAG = re.compile(r"<(/?)answer>", re.I)
_STATED = re.compile(
    r"\b(?:answer|result|solution)s?\b"
    r"(?:[ \t]+(?:to|for|of)[ \t]+(?:the|this|your|our|that)[ \t]+(?:question|problem|exercise|equation|task))?"
    r"(?:[ \t]+(?:is|was|are|should[ \t]+be|must[ \t]+be|equals)\b[ \t]*:?|[ \t]*\**[ \t]*[:=])[ \t*]*",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_AFTERTHOUGHT = re.compile(r"[,;]?\s+\(?(?:because|since|which|as|so)\b", re.I)
_FENCED = re.compile(r"\s*```\Z")
_QUICK_HASH = re.compile(r"[ \t]*([$-]?[0-9][0-9,.]*)\s*\Z")


def by_pattern(text: str, pattern: str) -> Found | None:
    """The last match of a pattern of the user's (its first group, if it has groups)."""
    matches = []
    for match in re.finditer(pattern, text):
        group = 1 if match.re.groups else 0
        matches.append(Found(match[group] or "", match.start(), match.end()))
    return _last(text, matches)


def marked(text: str, numeric: bool) -> Found | None:
    """The explicitly marked answer. ``numeric``: mathematics is known, so ``####`` before words is a title."""
    strong: list[Found] = []
    boxed = "\\boxed" in text or "\\fbox" in text
    tagged = "answer>" in text or "ANSWER>" in text or "Answer>" in text
    if "####" in text:
        if not boxed and not tagged and (quick := _quick_hash(text)):
            return quick
        hashes = _last(text, list(_hashes(text, numeric)))
        strong += [hashes] if hashes else []
    if boxed and (box := _boxes(text)):
        strong.append(box)
    if tagged and (tag := _last(text, list(_tags(text)))):
        strong.append(tag)
    if not strong:
        return _last(text, list(_stated(text)), context.denied_statement) if _STATED.search(text) else None
    last = max(strong, key=lambda found: found.start)
    box = next((found for found in strong if not found.problem and found.text != last.text), last)
    within = last.start < box.start < last.end or box.start < last.start < box.end
    if not last.problem and not within and box.end <= last.start and not _same(box.text, last.text):
        between = text[box.end : last.start]
        if not context.retracted(between):
            return last._replace(problem="two markers give different answers")
    return _checked(text, last)


def _quick_hash(text: str) -> Found | None:
    """``#### 42`` at the very end, as most answers are: found without looking at the rest."""
    at = text.rfind("####")
    match = _QUICK_HASH.match(text, at + 4)
    if match is None or text.find("####", text.rfind("\n", 0, at) + 1) != at:
        return None
    return Found(match[1], at, match.end())


def _checked(text: str, found: Found, denied: Callable[[str], bool] = context.denied) -> Found:
    """With a problem noted if the words around the answer deny it or take it back."""
    if found.problem:
        return found
    if denied(text[max(0, found.start - 120) : found.start]):
        return found._replace(problem="the final answer is denied")
    if found.end >= 0 and context.withdrawn(text[found.end : found.end + 160]):
        return found._replace(problem="the final answer is taken back")
    return found


def _last(text: str, found: list[Found], denied: Callable[[str], bool] | None = None) -> Found | None:
    """The last answer of one kind, unless its line states another one that was not taken back."""
    if not found:
        return None
    last = found[-1]
    if len(last.text) > MAX_ANSWER_CHARS:
        return Found(last.text[:100], last.start, last.end, "the final answer is too long")
    line = text.rfind("\n", 0, last.start) + 1
    following = last
    for other in reversed(found[-MAX_RIVALS:-1]):
        if other.start < line:
            break
        between = text[other.end : following.start]
        if not _same(other.text, last.text) and not context.retracted(between):
            return last._replace(problem="several final answers on one line")
        following = other
    return _checked(text, last, denied) if denied else last


def _same(one: str, two: str) -> bool:
    """Whether two markers say the same number or text."""
    numbers = quantity(one), quantity(two)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    return plain(one).casefold() == plain(two).casefold()


def _hashes(text: str, numeric: bool) -> Iterator[Found]:
    """For mathematics, an answer starts like one; for known text, it stands on the last line."""
    last_line = text.rstrip().rfind("\n")
    for match in _HASH.finditer(text):
        value = match[1].strip().strip("*").strip()
        heading = _HEADING.match(value) if numeric else match.start() < last_line
        if value and not heading:
            yield Found(value, match.start(), match.end())


def _boxes(text: str) -> Found | None:
    """The last outermost box, joined with those that its sentence joins it with."""
    boxes = list(_outermost(text))
    if not boxes:
        return None
    last = boxes[-1]
    if last.problem:
        return last
    if len(last.text) > MAX_ANSWER_CHARS:
        return Found(last.text[:100], last.start, last.end, "the final answer is too long")
    if not last.text or last.text in ("{}", "~", "\\,", "$$"):
        return last._replace(problem="the last box is empty")
    joined, following = [last.text], last
    for other in reversed(boxes[-MAX_RIVALS:-1]):
        if not other.text:
            break
        how = context.joint(text[other.end : following.start])
        if how == "apart" or (how == "unclear" and _same(other.text, last.text)):
            break
        if how == "unclear":
            return last._replace(problem="several final answers on one line")
        if not any(_same(other.text, member) for member in joined):
            joined.insert(0, other.text)
        following = other
    return last._replace(start=following.start, joined=tuple(joined) if len(joined) > 1 else ())


def _outermost(text: str) -> Iterator[Found]:
    """Boxes that are in no other box; one that never closes ends the list. Boxes on commented lines are none."""
    stack: list[bool] = []
    opened: list[tuple[int, int]] = []
    for match in _BOX.finditer(text, max(0, text.find("\\"))):
        token = match[0]
        if token == "}":
            if stack and stack.pop():
                start, inside = opened.pop()
                if not opened and not context.commented(text, start):
                    end = min(match.start(), inside + MAX_ANSWER_CHARS + 1)
                    yield Found(_content(text[inside:end]), start, match.end())
        elif token[-1] == "{" and token != "\\{":
            stack.append(len(token) > 1)
            if len(token) > 1:
                opened.append((match.start(), match.end()))
    if opened:
        yield Found("", opened[-1][0], len(text), "the last box is not closed")


def _content(inside: str) -> str:
    """What a box holds, without boxes in it and braces around it."""
    content = _INNER_BOX.sub("", inside).strip()
    while content.startswith("{") and content.find("}") == len(content) - 1 and content.find("{", 1) < 0:
        content = content[1:-1].strip()
    return content


def _tags(text: str) -> Iterator[Found]:
    opened: re.Match[str] | None = None
    for match in _TAG.finditer(text):
        if not match[1]:
            opened = match
        elif opened is not None:
            inside = text[opened.end() : min(match.start(), opened.end() + MAX_ANSWER_CHARS + 1)].strip()
            yield Found(inside, opened.start(), match.end(), "" if inside else "the last answer tag is empty")
            opened = None
    if opened is not None:
        yield Found("", opened.start(), len(text), "the last answer tag is not closed")


def _stated(text: str) -> Iterator[Found]:
    for match in list(_STATED.finditer(text))[-MAX_RIVALS:]:
        rest = text[match.end() : match.end() + MAX_ANSWER_CHARS + 1]
        value = rest.lstrip("\n \t*")
        offset = match.end() + len(rest) - len(value)
        end = _SENTENCE_END.search(value)
        doubted = "the final answer is a question" if end and end[0] == "?" else ""
        sentence = value[: end.start()] if end else value
        said = _AFTERTHOUGHT.split(sentence, maxsplit=1)[0]
        yield Found(said.strip().strip("*").strip(), match.start(), offset + len(said), doubted)


def last_line(text: str) -> Found | None:
    """The last line, as a candidate for a bare expression."""
    line = (_FENCED.sub("", text) if text.endswith("```") else text).rpartition("\n")[2].strip()
    return Found(line, len(text) - len(line), len(text)) if 0 < len(line) <= MAX_ANSWER_CHARS else None


def concluded(text: str) -> Found | None:
    """The one number of the last sentence of the last line, or the one after its last "=", if it is a conclusion."""
    line = text.rpartition("\n")[2].strip()
    if len(line) > MAX_ANSWER_CHARS:
        return None
    bold = "**" in line
    sentences = [part for part in _SENTENCE_END.split(plain(line).rstrip(".!* ")) if part.strip()][-1:]
    if not sentences or not (bold or context.concludes(sentences[0])):
        return None
    number = context.only_number(sentences[0])
    return Found(number, len(text) - len(line), len(text)) if number else None
