"""Instructions whose keeping can be checked: lengths, words, formats, cases (the 25 kinds of IFEval).

Contract: ``Problem.tests`` holds IFEval's own columns, ``instruction_id_list`` and ``kwargs``, or a list of mappings
with ``id`` and the arguments. All must be kept to pass; ``score`` is the share kept, ``steps`` says which. ``loose``
also accepts a completion without its first or last line or its asterisks, as IFEval's loose measure does. Sentences are
split by punctuation, where IFEval asks nltk; ``language`` needs ``pip install langdetect``.

Paper: Zhou et al. 2023, arXiv 2311.07911. See it work: ``pytest tests/verifiers/test_instructions.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from selfimprove import Problem, Sample, Verdict, failing, passing

_SENTENCE = re.compile(r"[^.!?]*[^.!?\s][^.!?]*(?:[.!?]+[\"')\]]*|$)")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
Check = Callable[[str, Mapping[str, Any]], bool]


def instructions(problem: Problem, sample: Sample, *, loose: bool = False) -> Verdict:
    """Raises ValueError for an instruction that is not known, or whose arguments are missing."""
    asked = _asked(problem)
    text = (sample.prefix + sample.completion).strip()
    readings = _readings(text) if loose else [text]
    kept = [
        any(reading.strip() and _kept(problem, kind, given, reading) for reading in readings) for kind, given in asked
    ]
    broken = [kind for (kind, _), ok in zip(asked, kept, strict=True) if not ok]
    steps, score = [float(ok) for ok in kept], sum(kept) / len(kept)
    if broken:
        return failing(f"not kept: {', '.join(broken)}"[:300], score=score, steps=steps)
    return passing(f"{len(kept)} kept", score=score, steps=steps)


def _asked(problem: Problem) -> list[tuple[str, Mapping[str, Any]]]:
    tests = json.loads(problem.tests) if isinstance(problem.tests, str) else problem.tests
    if isinstance(tests, Mapping):
        names = tests.get("instruction_id_list") or []
        given = tests.get("kwargs")
        given = [{}] * len(names) if given is None else given
        if len(names) != len(given):
            raise ValueError(f"problem {problem.id!r} has {len(names)} instructions and {len(given)} kwargs")
        found = list(zip(names, given, strict=True))
    else:
        found = [(row["id"], row) for row in tests or []]
    if not found:
        raise ValueError(f"problem {problem.id!r} has no instructions in its tests: instruction_id_list and kwargs")
    return [(name, {k: v for k, v in (args or {}).items() if v is not None}) for name, args in found]


def _kept(problem: Problem, kind: str, given: Mapping[str, Any], text: str) -> bool:
    check = CHECKS.get(kind)
    if check is None:
        raise ValueError(f"problem {problem.id!r} asks for {kind!r}; known are {', '.join(sorted(CHECKS))}")
    try:
        return check(text, given)
    except KeyError as error:
        raise ValueError(f"problem {problem.id!r}: instruction {kind!r} lacks its argument {error}") from error


def _readings(text: str) -> list[str]:
    lines = text.split("\n")
    cut = [text, "\n".join(lines[1:]), "\n".join(lines[:-1]), "\n".join(lines[1:-1])]
    return [*cut, *(reading.replace("*", "") for reading in cut)]


def _related(count: int, relation: str, wanted: int) -> bool:
    if relation not in ("less than", "at least"):
        raise ValueError(f"relation {relation!r} is neither 'less than' nor 'at least'")
    return count < wanted if relation == "less than" else count >= wanted


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I) is not None


def _count(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I))


def _paragraphs(text: str, given: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    if parts and not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return all(parts) and len(parts) == given["num_paragraphs"]


def _nth_first_word(text: str, given: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in re.split(r"\n\n", text) if part.strip()]
    place = given["nth_paragraph"]
    if len(parts) != given["num_paragraphs"] or not 1 <= place <= len(parts):
        return False
    first = parts[place - 1].split()[0].lstrip("'\"").rstrip(".,?!'\"")
    return first.casefold() == given["first_word"].casefold()


def _postscript(text: str, given: Mapping[str, Any]) -> bool:
    marker = given.get("postscript_marker", "P.S.")
    spelled = r"\.?\s?".join(re.escape(letter) for letter in re.findall(r"\w", marker))
    return re.search(rf"^\s*{spelled}\b.*\S", text, re.I | re.M) is not None


def _highlights(text: str, given: Mapping[str, Any]) -> bool:
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("* ")]
    single = [part for part in re.findall(r"\*[^\n*]*\*", re.sub(r"\*\*[^\n*]*\*\*", "", text)) if part.strip("* ")]
    return len(double) + len(single) >= given["num_highlights"]


def _sections(text: str, given: Mapping[str, Any]) -> bool:
    found = re.findall(rf"\s?{re.escape(given['section_spliter'])}\s?\d+\s?", text)
    return len(found) >= given["num_sections"]


def _json(text: str, given: Mapping[str, Any]) -> bool:
    bare = text.removeprefix("```json").removeprefix("```Json").removeprefix("```JSON").removeprefix("```")
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _two(text: str, given: Mapping[str, Any]) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if parts and not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def _quoted(text: str, given: Mapping[str, Any]) -> bool:
    return len(text) > 1 and text[0] == text[-1] == '"'


def _language(text: str, given: Mapping[str, Any]) -> bool:
    import langdetect  # type: ignore[import-not-found,unused-ignore]

    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text)) == given["language"]
    except langdetect.LangDetectException:  # a text without letters is in every language, as IFEval has it
        return True


CHECKS: dict[str, Check] = {
    "keywords:existence": lambda text, given: all(_has(text, word) for word in given["keywords"]),
    "keywords:frequency": lambda text, given: _related(
        _count(text, given["keyword"]), given.get("relation", "at least"), given["frequency"]
    ),
    "keywords:forbidden_words": lambda text, given: not any(_has(text, word) for word in given["forbidden_words"]),
    "keywords:letter_frequency": lambda text, given: _related(
        text.casefold().count(given["letter"].casefold()), given.get("let_relation", "at least"), given["let_frequency"]
    ),
    "language:response_language": _language,
    "length_constraints:number_sentences": lambda text, given: _related(
        len(_SENTENCE.findall(text)), given.get("relation", "at least"), given["num_sentences"]
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, given: _related(
        len(_WORD.findall(text)), given.get("relation", "at least"), given["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": _nth_first_word,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[[^\[\]\n]+\]", text)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda text, given: (
        len(re.findall(r"^\s*(?:\*(?!\*)|-)\s*\S", text, re.M)) == given["num_bullets"]
    ),
    "detectable_format:constrained_response": lambda text, given: any(option in text for option in _OPTIONS),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda text, given: any(
        part.strip(" <>") for part in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two,
    "combination:repeat_prompt": lambda text, given: text.casefold().startswith(
        given["prompt_to_repeat"].strip().casefold()
    ),
    "startend:end_checker": lambda text, given: text.strip(' "').casefold().endswith(
        given["end_phrase"].strip().casefold()
    ),
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": lambda text, given: _related(
        sum(word.isupper() for word in _WORD.findall(text)),
        given.get("capital_relation", "at least"),
        given["capital_frequency"],
    ),
    "change_case:english_capital": lambda text, given: text.isupper(),
    "change_case:english_lowercase": lambda text, given: text.islower(),
    "punctuation:no_comma": lambda text, given: "," not in text,
}  # fmt: skip
