"""The small audit before a run. Run: pytest tests/audit/test_quick.py"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfimprove.audit.quick import QuickAudit, quick_audit
from selfimprove.types import Problem, Sample, Verdict, erring, failing, messages, passing

PROBLEMS = [Problem(f"p{n}", messages(f"{n}?"), str(n)) for n in range(100, 160)]
Judge = Callable[[Sequence[tuple[Problem, Sample]]], list[Verdict]]


def judge(accepts: Callable[[Problem, str], bool | None]) -> Judge:
    def judged(pairs: Sequence[tuple[Problem, Sample]]) -> list[Verdict]:
        found = []
        for problem, sample in pairs:
            said = accepts(problem, sample.completion)
            found.append(erring("OSError", "gone") if said is None else passing() if said else failing("no"))
        return found

    return judged


def test_one_usual_form_is_enough() -> None:
    found = quick_audit(PROBLEMS, judge(lambda problem, text: text == f"#### {problem.answer}"), 10)
    assert found == QuickAudit(10) and found.refused() is None and found.doubts() is None


def test_refused_golds_are_counted_against_a_tolerance() -> None:
    found = quick_audit(PROBLEMS, judge(lambda problem, text: problem.answer in text and problem.id != "p100"), 20)
    assert set(found.gold_failed) == {"p100"}
    assert found.refused() is None, "one of twenty is within the tolerance"
    why = found.refused(0.01, source="problems.jsonl")
    assert why is not None and "of problems.jsonl looked at" not in why.partition("p100")[2] and "p100: no" in why


def test_what_is_wrong_for_any_problem_is_told() -> None:
    found = quick_audit(PROBLEMS, judge(lambda problem, text: True), 10)
    assert found.refused() is None and set(found.accepted_bad) >= {"empty", "refused", "neighbour", "hacking"}
    assert "accepts completions that are wrong for any problem: empty (10 of 10)" in str(found.doubts())


def test_one_that_errs_is_asked_once() -> None:
    asked = []

    def count(pairs: Sequence[tuple[Problem, Sample]]) -> list[Verdict]:
        asked.extend(pairs)
        return [erring("OSError", "gone") for _ in pairs]

    found = quick_audit(PROBLEMS, count, 32)
    assert len(asked) == 1 and found.gold_errors == {"p100": "OSError: gone"} and found.refused() is None
    assert "could not judge 1 of 1 gold answers, for example: OSError: gone" in str(found.doubts())


def test_problems_that_say_nothing_are_left_out() -> None:
    assert quick_audit([Problem("p", messages("?"), None)], judge(lambda problem, text: False)) == QuickAudit()


def test_errors_on_problems_with_tests_alone_are_seen() -> None:
    problems = [Problem(f"t{n}", messages(f"Write f{n}."), None, ["assert f(1) == 1"]) for n in range(3)]
    found = quick_audit(problems, judge(lambda problem, text: None))
    assert set(found.gold_errors) == {"t0", "t1", "t2"}
