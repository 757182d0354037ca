"""The program in a completion: fenced blocks, or all of it.

Contract: linear in the text, and nothing is compiled here (nesting bombs belong into the cell). After the last
``</think>`` and before the first end-of-turn token; fences as in CommonMark (a closing fence is not
indented by more than three blanks, so fences in docstrings survive); blocks tagged as another language do not count.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

import re

MAX_CHARS = 200_000
PYTHON = {"", "py", "python", "python3", "py3", "python2"}
_END = re.compile(r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_text|end|user|assistant)\|>|<(?:start|end)_of_turn>")
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ \t]*([^\s`{]*)[^`]*$")
_TURN = re.compile(r"^[#*]{0,4} ?(?:user|human)\b ?[:*]", re.I)


def blocks(completion: str) -> list[str]:
    """The pieces of the program in order; one piece if there is no fence."""
    text = completion[:MAX_CHARS].replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    text = text.rpartition("</think>")[2]
    ended = _END.search(text)
    text = text[: ended.start()] if ended else text
    found, fenced = _fenced(text)
    if fenced:
        return found
    bare = text.strip("\n")
    return [bare] if bare.strip() else []


def _fenced(text: str) -> tuple[list[str], bool]:
    found: list[str] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    seen = False
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if opened is None:
            if match:
                opened, lines, seen = match, [], True
            elif _TURN.match(line):
                break
            continue
        closes = (
            match is not None
            and not match[3]
            and match[2][0] == opened[2][0]
            and len(match[2]) >= len(opened[2])
            and len(match[1]) <= max(3, len(opened[1]))
        )
        if closes:
            found += _kept(opened, lines)
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        found += _kept(opened, lines)
    return found, seen


def _kept(opened: re.Match[str], lines: list[str]) -> list[str]:
    if opened[3].casefold() not in PYTHON:
        return []
    indent = len(opened[1])
    body = [line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in lines]
    return ["\n".join(body)] if "".join(body).strip() else []
