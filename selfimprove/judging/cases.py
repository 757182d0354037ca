"""Audit cases of kind ``judge``: what a judge's output means, and what a judge is shown.

Contract: `decide` is deterministic and asks no model. Three tasks: ``{format, scale, threshold, expected_score}`` (the
completion is a judge's output), ``{question, reference}`` (the completion is shown to the believing stand-in of
`selfimprove.judging.doubles`), ``{verdict_first_order, verdict_swapped_order}`` (a pair judged in both orders).

See it work: ``selfimprove verifiers check --kind judge``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfimprove.judging import parsing, showing
from selfimprove.judging.aggregating import consistent
from selfimprove.judging.doubles import gullible
from selfimprove.types import Verdict, failing, passing


def decide(task: Mapping[str, Any], completion: str) -> Verdict:
    """The verdict of a ``judge`` case. Raises ValueError for a task of another form."""
    if "format" in task:
        return _scored(task, completion)
    if "verdict_first_order" in task:
        first = parsing.choice(str(task["verdict_first_order"]))
        swapped = parsing.choice(str(task["verdict_swapped_order"]))
        winner = consistent(first, swapped)
        return passing("answer 1 wins in both orders") if winner == 1.0 else failing("no consistent win of answer 1")
    if "question" in task:
        return _shown(str(task["question"]), str(task.get("reference", "")), completion)
    raise ValueError("a judge's task holds format, question or verdict_first_order")


def read(form: str, text: str, low: float, high: float) -> float | None:
    """The score in ``text`` by a format given in words, or None."""
    words = form.casefold()
    integer = "int" in words or "integer" in words or "[[" in words
    if "json" in words:
        return parsing.json_score(text, low, high, integer=integer)
    if "[[" in words:
        return parsing.rating(text, low, high, integer=integer)
    for yes, no in (("CORRECT", "INCORRECT"), ("YES", "NO"), ("PASS", "FAIL"), ("TRUE", "FALSE")):
        if f"{yes.casefold()} or {no.casefold()}" in words:
            said = parsing.binary(text, yes, no)
            return None if said is None else float(high if said else low)
    return parsing.score(text, low, high, integer=integer)


def _scored(task: Mapping[str, Any], completion: str) -> Verdict:
    low, high = task["scale"]
    found = read(str(task["format"]), completion, low, high)
    if found is None:
        return failing("unparsable: in a run an error, never a score")
    accept = found >= task["threshold"]
    return (passing if accept else failing)(f"score {found:g}, threshold {task['threshold']:g}", score=found)


def _shown(question: str, reference: str, completion: str) -> Verdict:
    why = showing.hopeless(question, completion)
    if why:
        return failing(why)
    prompt = showing.block(completion, showing.delimiter("audit", question, completion))
    return passing("accepted") if gullible(prompt, reference) else failing("rejected")
