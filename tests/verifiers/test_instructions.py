"""Instructions that can be checked: kept and broken, one of each. Run: pytest tests/verifiers/test_instructions.py"""

# ruff: noqa: E501 - cases stand whole on their lines

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selfimprove.verifiers.instructions import CHECKS, instructions

from selfimprove.types import Problem, Sample, Verdict, messages

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["cat", "Dog"]}, "A dog saw a CAT.", "A dog saw a caterpillar."),
    ("keywords:frequency", {"keyword": "so", "relation": "at least", "frequency": 2}, "So, so it is.", "Also so."),
    ("keywords:forbidden_words", {"forbidden_words": ["no"]}, "Nobody knows.", "Oh no!"),
    ("keywords:letter_frequency", {"letter": "e", "let_relation": "less than", "let_frequency": 2}, "Her", "Never"),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two!", "One, two"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One\n***\nTwo", "One\n\nTwo"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "don't go", "I must go"),
    (
        "length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
        "One.\n\n\"So, two.", "So.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [street]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. More.", "Bye. PS"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two", "**one**\n* two"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and ** **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}, "Section 1\na\nSection 2\nb", "Section 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<On cats>>\nText", "<< >>\nText"),
    ("combination:two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. It.", "It. Say it."),
    ("startend:end_checker", {"end_phrase": "That is all."}, "So. That is all.", "That is all. Bye"),
    ("startend:quotation", {}, '"So."', '"So.'),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "NO and YES", "NO and Yes"),
    ("change_case:english_capital", {}, "ALL OF IT", "All of it"),
    ("change_case:english_lowercase", {}, "all of it.", "All of it."),
    ("punctuation:no_comma", {}, "one and two", "one, two"),
]  # fmt: skip


def judged(tests: Any, text: str, **options: Any) -> Verdict:
    return instructions(
        Problem("p", messages("?"), None, tests), Sample("s", "p", 0, "", "", [], text, [], "stop", 0, ""), **options
    )


@pytest.mark.parametrize(("kind", "given", "kept", "broken"), CASES, ids=[case[0] for case in CASES])
def test_each_kind(kind: str, given: dict[str, Any], kept: str, broken: str) -> None:
    tests = {"instruction_id_list": [kind], "kwargs": [{**given, "unused": None}]}
    assert judged(tests, kept).outcome == "pass"
    verdict = judged(tests, broken)
    assert verdict.outcome == "fail" and kind in verdict.reason
    assert judged([{"id": kind, **given}], kept).outcome == "pass"
    assert judged(tests, "").outcome == "fail", "nothing keeps no instruction"


def test_all_kinds_of_ifeval_are_known() -> None:
    assert len(CHECKS) == 25 and {case[0] for case in CASES} == set(CHECKS) - {"language:response_language"}


def test_the_share_kept_is_the_score() -> None:
    tests = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    verdict = judged(tests, "no comma")
    assert (verdict.outcome, verdict.score, verdict.steps) == ("fail", 0.5, (1.0, 0.0))


def test_loose_reading_forgives_a_frame() -> None:
    tests = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    assert judged(tests, 'Sure:\n"So."').outcome == "fail"
    assert judged(tests, 'Sure:\n"So."', loose=True).outcome == "pass"


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (None, "has no instructions"),
        ({"instruction_id_list": ["a:b"], "kwargs": [{}]}, "asks for 'a:b'; known are"),
        ({"instruction_id_list": ["a:b"], "kwargs": []}, "1 instructions and 0 kwargs"),
        ({"instruction_id_list": ["keywords:frequency"], "kwargs": [{"keyword": "a"}]}, "lacks its argument 'frequency'"),
        ({"instruction_id_list": ["keywords:frequency"], "kwargs": [{"keyword": "a", "frequency": 1, "relation": "about"}]}, "'about' is neither"),
    ],
)  # fmt: skip
def test_faults_of_the_problem_are_errors(tests: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judged(tests, "text")


@given(st.text(max_size=200), st.sampled_from(CASES))
def test_any_text_passes_or_fails(text: str, case: tuple[str, dict[str, Any], str, str]) -> None:
    assert judged([{"id": case[0], **case[1]}], text, loose=True).outcome in ("pass", "fail")
