"""The final answer equals the known one: exactly, whatever its spelling; in mathematics by value.

Contract: one answer is read from a completion, by rules that do not look at the known answer's value, so listing
candidates wins nothing; it passes only if it equals `Problem.answer`. No text is ever evaluated. Any completion gives
pass or fail within its limits; an error says that the *problem* cannot be judged. `docs/answers.md` has the whole.

See it work: ``pytest tests/verifiers/test_answer_match.py``.
"""

from __future__ import annotations

import functools

from selfimprove import Problem, Sample, Verdict, answers, erring, failing, passing
from selfimprove import text as writing

JUDGES_CASES = ("math",)
MAX_CHARS = 100_000


def answer_match(
    problem: Problem,
    sample: Sample,
    *,
    pattern: str | None = None,
    ignore_case: bool = True,
    forms: str = "evaluated",
    units: str = "agree",
    percent: str = "sign",
    tolerance: float | None = None,
    thinking: bool = False,
    alternatives: str = "refuse",
    undecided: str = "fail",
    symbolic_limit_s: float = 2.0,
) -> Verdict:
    r"""Pass if the completion's final answer is ``problem.answer``.

    **What is read.** The text after the last ``</think>``, up to an end-of-turn token or an invented turn (``User:``).
    There the first of these that exists is *the* answer: ``pattern`` (a regular expression: its last match, group 1 if
    it has groups) and nothing else, if given; the last of ``\boxed{x}``, ``#### x`` and ``<answer>x</answer>`` (boxes
    joined by "and" are one list; an empty or unclosed last box is no answer); the last "the answer is x"; the last
    line, if all of it is an answer; for a known number, the one number that the last sentence concludes with.

    **What is equal.** Numbers and expressions by exact value, pairs and intervals part by part, solutions in any order,
    equations up to a factor, choices by letter or text, anything else as text. What exact arithmetic cannot decide goes
    to computer algebra in a process that is killed after ``symbolic_limit_s`` seconds.

    The other options are the debatable calls, the fields of `selfimprove.answers.Policy`; ``docs/answers.md`` gives
    the reason of each. The known answer may be a number, a string, a whole solution that ends in ``#### x`` or
    ``\boxed{x}``, or ``{"type": "countdown", "numbers": [...], "target": n}``.

    Returns a verdict whose ``answer`` is what was read (numbers in one canonical spelling, so that votes can be
    counted). Raises ValueError if the problem has no usable answer: nothing can be said of the sample then.
    """
    policy = _policy(ignore_case, forms, units, percent, tolerance, thinking, alternatives, undecided, symbolic_limit_s)
    if "tolerance" in problem.meta:
        policy = _with_tolerance(policy, problem.meta["tolerance"])
    try:
        gold = answers.known(problem.answer, policy, problem.meta)
    except ValueError as error:
        raise ValueError(f"problem {problem.id!r} {error}: answer_match needs a usable answer column") from error
    said = sample.prefix + sample.completion if sample.prefix else sample.completion
    text = (said if thinking else writing.own_words(said))[-MAX_CHARS:]
    if gold.game is not None:
        return _game(text, gold, pattern)
    if pattern is not None:
        found = answers.by_pattern(text, pattern)
    else:
        found = answers.marked(text, gold.mathematical) or _unmarked(text, gold, problem, policy)
    if found is None:
        return failing("no final answer found")
    if found.problem:
        return failing(found.problem, answer=found.text)
    mine = answers.joined(found.joined) if found.joined else answers.read(found.text)
    return _verdict(mine, gold, problem, policy)


@functools.lru_cache(maxsize=64)
def _policy(
    ignore_case: bool,
    forms: str,
    units: str,
    percent: str,
    tolerance: float | None,
    thinking: bool,
    alternatives: str,
    undecided: str,
    symbolic_limit_s: float,
) -> answers.Policy:
    return answers.Policy(
        ignore_case, forms, units, percent, tolerance, thinking, alternatives, undecided, symbolic_limit_s
    )


@functools.lru_cache(maxsize=64)
def _with_tolerance(policy: answers.Policy, tolerance: float | None) -> answers.Policy:
    from dataclasses import replace

    return replace(policy, tolerance=tolerance)


def _verdict(mine: answers.Answer, gold: answers.Known, problem: Problem, policy: answers.Policy) -> Verdict:
    if mine.plain and mine.plain == gold.plain:
        return passing(answer=mine.plain)
    prompt = problem.prompt[-1].content if problem.prompt else ""
    reason = ""
    for known in gold.answers:
        try:
            reason = answers.difference(mine, known, prompt, policy)
        except answers.Unjudgeable as error:
            return erring("Unjudgeable", f"problem {problem.id!r}: {error}")
        if not reason:
            return passing(answer=mine.spelled)
    wanted = " or ".join(repr(known.text[:200]) for known in gold.answers[:5])
    return failing(f"expected {wanted}, got {mine.text[:200]!r}: {reason}", answer=mine.spelled)


def _unmarked(text: str, gold: answers.Known, problem: Problem, policy: answers.Policy) -> answers.Found | None:
    """Rules 4 and 5, on the last line."""
    found = answers.last_line(text)
    if found is None:
        return None
    mine = answers.read(found.text)
    if mine.tree is not None or any(answers.same_text(mine, known, policy) for known in gold.answers):
        return found
    return answers.concluded(text) if any(known.number for known in gold.answers) else None


def _game(text: str, gold: answers.Known, pattern: str | None) -> Verdict:
    """An expression that makes a target."""
    found = answers.by_pattern(text, pattern) if pattern is not None else answers.marked(text, True)
    found = found or (answers.last_line(text) if pattern is None else None)
    if found is None or found.problem or found.joined:
        return failing(found.problem or "several final answers" if found else "no final answer found")
    assert gold.game is not None
    reason = answers.countdown.difference(found.text, gold.game)
    return failing(reason, answer=found.text) if reason else passing(answer=found.text)
