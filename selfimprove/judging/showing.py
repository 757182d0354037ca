"""Candidate text as data: how an answer is put before a judging model.

Contract: pure. The text stands between delimiters that its author could not know (a keyed hash), and nothing in it can
pass for a turn, a delimiter or a verdict: template tokens, verdict markers, role lines and invisible characters are
spelled apart. Answers that say nothing (empty, one sign, an opening phrase, the question again) are refused before any
model is asked, because such answers are known to fool judges (Zhao et al. 2025, arXiv 2507.08794).

See it work: ``pytest tests/judging``.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_CHARS = 20_000
_TEMPLATE = re.compile(r"<[|\uff5c]|[|\uff5c]>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?think>", re.I)
_BRACKETS = re.compile(r"\[(?=\[)")
_TAG = re.compile(r"<(/?\s*(?:verdict|score|judge?ment|rating|grade|result|system|candidate)[^<>]{0,40})>", re.I)
_BOXED = re.compile(r"\\boxed(\s*\{\s*(?:\\text\s*\{)?\s*(?:in)?(?:correct|pass|fail|yes|no|true|false)\b)", re.I)
_SCORE = re.compile(r"\b(score|rating|grade|verdict|judge?ment)(\W{0,5}?)([:=])", re.I)
_KEY = re.compile(r"([\"'])(score|rating|verdict|passed|correct)\1(\s*):", re.I)
_ROLE = re.compile(r"^([ \t#*]{0,8}(?:user|human|system|assistant|judge|grader))([ \t*]{0,4}):", re.I | re.M)
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_OPENERS = frozenset({
    "sure", "okay", "ok", "certainly", "of", "course", "thought", "process", "let's", "let’s", "lets", "let", "me",
    "us", "to", "here", "i", "will", "i'll", "i’ll", "we", "first", "solution", "step", "answer", "final", "the", "a",
    "this", "problem", "question", "solve", "think", "about", "it", "by", "need", "can", "is", "carefully", "through",
    "breakdown", "start", "begin", "analyze", "analyse", "consider", "explanation", "now",
})  # fmt: skip


def delimiter(*parts: str) -> str:
    """16 hexadecimal digits that follow from ``parts``: give it what the author of the text does not know."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def neutral(text: str) -> str:
    """``text`` with nothing in it that a template or a parser would take for its own."""
    text = "".join(
        char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
    )
    if len(text) > MAX_CHARS:
        half = MAX_CHARS // 2
        text = f"{text[:half]}\n[... {len(text) - MAX_CHARS} characters left out ...]\n{text[-half:]}"
    text = _TEMPLATE.sub(lambda match: " ".join(match[0]), text)
    text = _BRACKETS.sub("[ ", text)
    text = _TAG.sub(r"( \1 )", text)
    text = _BOXED.sub(r"boxed\1", text)
    text = _KEY.sub(r"\1\2 \1\3 -", text)
    text = _SCORE.sub(r"\1\2 -", text)
    return _ROLE.sub(r"\1\2 -", text)


def block(text: str, key: str) -> str:
    """The text between its delimiters."""
    return f"<<<{key}\n{neutral(text)}\n{key}>>>"


def hopeless(question: str, text: str) -> str:
    """Why no model need be asked; "" if one must be."""
    bare = " ".join(neutral(text).split())
    if not bare:
        return "an empty answer"
    if not any(char.isalnum() for char in bare):
        return "an answer without a word or number"
    if len(bare) < 200 and _OPENERS.issuperset(_WORD.findall(bare.casefold())):
        return "an opening phrase and no answer"
    if _plain(bare) == _plain(question):
        return "the question again"
    return ""


def _plain(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
