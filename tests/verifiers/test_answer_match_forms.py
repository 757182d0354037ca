"""Mathematics beyond numbers: what is equal, what is not, what is a named option. Run: this file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selfimprove.verifiers.answer_match import answer_match

from selfimprove.types import Problem, Sample, messages

TASK = "Solve the problem and put the final answer in \\boxed{}."


def judge(gold: Any, said: str, prompt: str = TASK, **options: Any) -> bool:
    sample = Sample("s", "p", 0, "", "", [], said, [], "stop", 0, "")
    verdict = answer_match(Problem("p", messages(prompt), gold), sample, **options)
    assert verdict.outcome != "error"
    return verdict.passed


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        (r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt{2}}}"),
        (r"\frac{1}{7}", r"\boxed{0.\overline{142857}}"),
        (r"3\sqrt{5}", r"\boxed{\sqrt{45}}"),
        ("7500", r"\boxed{7.5\times 10^3}"),
        ("7500", r"\boxed{7\,500}"),
        (r"\frac{5}{2}", r"\boxed{2\frac{1}{2}}"),
        (r"(x-1)(x+4)", r"\boxed{x^2+3x-4}"),
        (r"x^2-9", r"\boxed{(x+3)(x-3)}"),
        (r"(-\infty,3]", r"\boxed{(-\infty, 3]}"),
        (r"\{2,5\}", r"\boxed{\{5,2\}}"),
        ("2,5", r"The roots are \boxed{5} and \boxed{2}."),
        ("D", r"\boxed{(D)}"),
        (r"y=3x-1", r"\boxed{3x-y=1}"),
        ("-7", r"\boxed{\text{-7}}"),
        (r"\frac{\pi}{3}", "\\boxed{\u03c0/3}"),
        (r"2-5i", r"\boxed{-5i+2}"),
    ],
)
def test_equal(gold: str, said: str) -> None:
    assert judge(gold, said)


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        ("9", r"\boxed{8} or \boxed{9}"),
        ("9", r"\boxed{\neq 9}"),
        ("9", r"not \boxed{9}"),
        ("9", r"\boxed{4+5}"),
        ("9", r"\boxed{10=9}"),
        ("9", r"<think>\boxed{9}</think> I cannot say."),
        ("9", "\\boxed{8}<|im_end|>\n\\boxed{9}"),
        ("9", r"\boxed{9\text{ thousand}}"),
        ("9", r"\boxed{9"),
        (r"\sqrt{3}", r"\boxed{1.732}"),
        ("(2,5)", r"\boxed{(5,2)}"),
        ("(2,5)", r"\boxed{[2,5]}"),
        ("2,5", r"\boxed{2,5,7}"),
        ("110_2", r"\boxed{110_3}"),
        ("5\\text{ m}", r"\boxed{5\text{ km}}"),
        (r"3\pi", r"\boxed{9.42}"),
    ],
)
def test_not_equal(gold: str, said: str) -> None:
    assert not judge(gold, said)


def test_options_decide_debatable_calls() -> None:
    assert not judge("0.333", r"\boxed{\frac13}") and judge("0.333", r"\boxed{\frac13}", tolerance=0.01)
    assert not judge("9", r"\boxed{4+5}") and judge("9", r"\boxed{4+5}", forms="any")
    assert not judge("5\\text{ m}", r"\boxed{5\text{ km}}")
    assert judge("5\\text{ m}", r"\boxed{5\text{ km}}", units="ignore")
    assert judge(["1", "one"], r"\boxed{1}", alternatives="any")
    assert not judge("Rome", r"\boxed{rome}", ignore_case=False)
    with pytest.raises(ValueError, match="alternatives"):
        judge(["1", "2"], r"\boxed{1}")
    with pytest.raises(TypeError, match="fuzzy"):
        judge("1", "1", fuzzy=True)


@pytest.mark.parametrize("game", [{"type": "countdown", "numbers": [3, 7, 25, 50], "target": 82}])
def test_countdown(game: dict[str, Any]) -> None:
    assert judge(game, "<answer>25 + 50 + 7 * (3 - 3)</answer>") is False
    assert judge(game, "<answer>50 + 25 + 7</answer>") is False, "every number is used"
    assert judge({**game, "target": 85}, "<answer>50 + 25 + 7 + 3</answer>")
    assert not judge({**game, "target": 85}, "<answer>85</answer>")
    assert not judge({**game, "target": 257}, "<answer>257</answer>")


PIECES = st.sampled_from(
    [r"\boxed{", "}", "{", r"\frac", r"\sqrt", "^", "_", "(", "]", "1", "42", ",", "=", " or ", "not ", "####", r"\\",
     "x", r"\pi", "<think>", "</think>", "<answer>", "%", "$", "\n", r"\text{", "\u00bd", "9^9^9", "!", "i", r"\pm"]
)  # fmt: skip


@settings(max_examples=300, deadline=4000)
@given(
    st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80), st.sampled_from(["42", r"\frac{1}{2}", "(1,2)"])
)
def test_any_text_passes_or_fails(said: str, gold: str) -> None:
    judge(gold, said, symbolic_limit_s=0.5)


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_equals_itself_and_not_its_neighbour(value: Any) -> None:
    gold = f"{value.numerator}/{value.denominator}"
    assert judge(gold, f"\\boxed{{\\frac{{{value.numerator}}}{{{value.denominator}}}}}")
    assert not judge(gold, f"\\boxed{{\\frac{{{value.numerator + value.denominator}}}{{{value.denominator}}}}}")
