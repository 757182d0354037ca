r"""The final answer equals the known one: numbers, mathematics, choices and words, exactly.

Contract: one answer is read from a completion, by rules that do not look at the known answer's value, so listing
candidates wins nothing; it passes only if it equals `Problem.answer`. Model text is never evaluated. Whatever the text
is, it passes or fails within the limits; an error means that the problem's own answer cannot be judged by.

See it work: ``pytest tests/verifiers/test_answer_match.py``.
"""

from __future__ import annotations

import functools
from typing import Any

from selfimprove import Problem, Sample, Verdict, answers, failing, passing
from selfimprove import text as writing

MAX_CHARS = 100_000


def answer_match(problem: Problem, sample: Sample, *, pattern: str | None = None, **options: Any) -> Verdict:
    r"""Pass if the completion's final answer is ``problem.answer``.

    **What is read.** Text after the last ``</think>``, up to an end-of-turn token or an invented turn. There the first
    of these that exists is *the* answer: ``pattern`` (a regular expression: its last match, group 1 if it has groups)
    and nothing else, if given; the last of ``\boxed{x}``, ``#### x`` and ``<answer>x</answer>`` (boxes joined by "and"
    are one list; an empty or unclosed last box is no answer); the last "the answer is x"; the last line, if all of it
    is an answer; for a known number, the one number that the last sentence concludes with. Hedges, denials and answers
    taken back fail.

    **Equality** is exact: numbers as fractions, expressions by exact arithmetic and, where that cannot decide, by
    sympy in a process of its own with ``symbolic_limit_s``. Order matters in tuples, not among solutions.

    ``options`` are the debatable calls, the fields of `selfimprove.answers.Policy`: ``ignore_case``, ``forms``
    (``evaluated``: a number wants a worked-out form), ``units``, ``percent``, ``tolerance``, ``thinking``,
    ``alternatives`` (what a list of known answers means), ``undecided``, ``symbolic_limit_s``.

    Returns a verdict whose ``answer`` is what was read (numbers in one canonical spelling). Raises ValueError if the
    problem has no answer to judge by.
    """
    policy = _policy(tuple(sorted(options.items())))
    try:
        gold = answers.known(problem.answer, policy, problem.meta)
    except ValueError as error:
        raise ValueError(f"problem {problem.id!r} {error}") from error
    said = sample.prefix + sample.completion
    text = (said if policy.thinking else writing.own_words(said))[-MAX_CHARS:]
    found = answers.by_pattern(text, pattern) if pattern else answers.marked(text, gold.mathematical)
    prompt = problem.prompt[-1].content if problem.prompt else ""
    if found is None and pattern is None:
        found = _unmarked(text, gold, prompt, policy)
    if found is None:
        return failing("no final answer found")
    if found.problem:
        return failing(found.problem, answer=found.text)
    if gold.game is not None:
        why = answers.game_difference(found.text, gold.game)
        return failing(why, answer=found.text) if why else passing(answer=found.text)
    mine = answers.joined(found.joined) if found.joined else answers.read(found.text)
    why = _difference(mine, gold, prompt, policy)
    if why:
        return failing(
            f"{why}: expected {gold.answers[0].text[:200]!r}, got {found.text[:200]!r}", answer=_spelled(mine)
        )
    return passing(answer=_spelled(mine))


@functools.lru_cache(maxsize=64)
def _policy(options: tuple[tuple[str, Any], ...]) -> answers.Policy:
    return answers.Policy.of(dict(options))


def _difference(mine: answers.Answer, gold: answers.Known, prompt: str, policy: answers.Policy) -> str:
    """What differs from the nearest known answer; "" if one is equal."""
    why = ""
    for known in gold.answers:
        why = answers.difference(mine, known, prompt, policy)
        if not why:
            break
    return why


def _unmarked(text: str, gold: answers.Known, prompt: str, policy: answers.Policy) -> answers.Found | None:
    """The last line if all of it is an answer, or what its last sentence concludes."""
    line = answers.last_line(text)
    if line is None:
        return None
    whole = answers.read(line.text)
    if whole.number is not None or whole.tree is not None or gold.game is not None:
        return line
    if gold.answers and not _difference(whole, gold, prompt, policy):
        return line
    return answers.concluded(text) if gold.mathematical else None


def _spelled(answer: answers.Answer) -> str:
    number = answer.number
    if number is None:
        return answer.text
    unit = f" {number.unit}" if number.unit else ""
    return f"{writing.canonical(number.value)}{'%' if number.percent else ''}{unit}"
