"""The final answer and nothing else: what is read, what is refused, what is equal."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfimprove import Problem, Sample, Verdict, messages
from selfimprove.plugins import resolve
from tests.test_text import FRACTIONS, spellings

answer_match = resolve("verifier", "answer_match")
SHARED = Path(__file__).parents[2].parent / "shared"


def check(completion: str, gold: Any = "42", question: str = "How many?", prefix: str = "", **options: Any) -> Verdict:
    sample = Sample("s/0", "p", 0, "", "", (), completion, (), "stop", 0, "", prefix)
    verdict = answer_match(Problem("p-7", messages(question), gold), sample, **options)
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(
    "completion",
    [
        "42",
        "$42$",
        "#### 42",
        "6 * 7\n#### 42\n",
        "####42",
        "#### $42.00",
        r"so \boxed{42}.",
        r"$$\boxed{42.}$$",
        r"\fbox{42}",
        r"\boxed{\text{42}}",
        r"\boxed{x = 42}",
        r"\boxed{\boxed{42}}",
        "<answer>42</answer>",
        "The answer is 42.",
        "The answer is: **42**",
        "**Answer:** 42",
        "Answer:\n42",
        "the final answer is 42, because 6 times 7 is 42.",
        "The answer is 42. Ask me anything else!",
        "First \\boxed{40}. Wait, that is wrong: \\boxed{42}",
        "\\boxed{40}\nLet me try again.\n\\boxed{42}",
        "\\boxed{42} and again \\boxed{42.0}",
        "#### 41\n#### 42",
        "#### Step 1: add\nThe answer is 42.",
        "#### 1. Add\nThe answer is 42.",
        "#### Final answer\n\\boxed{42}",
        "\\boxed{42}\n\nAsk me about step 3!",
        "He buys 6 * 7 = 42.",
        "So there are 6 x 7 = 42 of them in all.",
        "There are 3 boxes. So there are **42** of them.",
        "<think>\\boxed{41}</think>#### 42",
        "#### 42<|im_end|>\n#### 41",
        "#### 42\n\nQuestion: what is 1 + 1?\n#### 2",
    ],
)
def test_the_final_answer_is_found(completion: str) -> None:
    verdict = check(completion)
    assert verdict.passed and verdict.answer == "42", verdict


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " ",
        "41",
        "forty-two",
        "#### 42 #### 41",
        "#### 41 #### 42",
        "#### 41, #### 42",
        "#### 41 or 42",
        "#### 41, 42",
        "#### 42 42",
        "the answer is 41 or 42",
        "The answer is 42 or 41.",
        "The answer is 41. The answer is 42.",
        "The answer is 41, or the answer is 42.",
        "The answer is not 42.",
        "The answer is about 42.",
        r"\boxed{41} \boxed{42}",
        r"\boxed{41} or \boxed{42}",
        r"\boxed{41}, \boxed{42}",
        r"\boxed{41, 42}",
        r"\boxed{\{41, 42\}}",
        r"\boxed{42} ... so \boxed{}",
        r"\boxed{42} hence \boxed{42",
        r"\boxed{42 \text{ is wrong}}",
        r"\boxed{\text{not }42}",
        r"\boxed{\pm 42}",
        r"\boxed{>41}",
        r"\boxed{17 = 42}",
        r"\boxed{x + 3 = 42}",
        "<answer>41</answer> <answer>42</answer>",
        "17 = 42",
        "1 = 2 = 42",
        "41 42",
        "41, 42",
        "It is 41 or 42.",
        "It might be 42",
        "I do not know 42.",
        "Between 40 and 42.",
        "It takes 42-43 days.",
        "There are 41 here and 42 there.",
        "It costs 42 million.",
        "It costs 42 cents.",
        "6 * 7 = 42 or 43",
        "42 and nothing else matters\nbut the rest is silence",
        "#### 42 million",
        "#### 42 cents",
        "#### 42%",
        "<think>42",
        "I give up.\nUser: the answer is 42",
        "#### 42\nNo, recount.\n#### 41",
        "\n".join(f"#### {number}" for number in range(60)),
        " ".join(f"The answer is {number}." for number in range(60)),
        "4_2",
        "4 2",
        "\u202e24\u202c",
        "\u2463\u2461",
        "0.42",
        "4200",
    ],
)
def test_hedges_lists_and_wrong_answers_fail(completion: str) -> None:
    assert check(completion).outcome == "fail"


@pytest.mark.parametrize(
    ("gold", "completion", "question", "passed"),
    [
        ("0.5", r"\boxed{50\%}", "What is the probability?", True),
        ("50", r"\boxed{50\%}", "What percent of them?", True),
        ("50%", "#### 50", "What percent of them?", True),
        ("50%", "#### 0.5", "What share of them?", True),
        ("42", "#### 0.42", "What percent?", False),
        ("42", "#### 4200%", "What percent?", False),
        ("42", "#### 42%", "How many eggs?", False),
        ("42", "#### 42 apples", "Ann has pears. How many apples has Bo?", True),
        ("42", "#### 42 apple", "How many apples in total?", True),
        ("42", "#### 42 apples in total", "How many apples has Bo?", True),
        ("42", "#### 42 pears", "Ann has pears. How many apples has Bo?", False),
        ("42", "#### 42 dollars", "It costs $6. How much are seven?", True),
        ("42", "#### $42", "How many dollars?", True),
        ("42", "#### 42 cents", "How many dollars? Not cents.", False),
        ("42", "#### 42 cents", "It costs $6. How much are seven?", False),
        ("42", "#### 42 million", "How many million are there?", False),
        ("42 million", "#### 42 million", "How many?", True),
        (r"5\text{ cm}", r"\boxed{5 \mathrm{cm}}", "How long?", True),
        ("5 cm", "#### 5", "How long?", True),
        ("5 cm", "#### 5 m", "How long?", False),
        ("90", r"\boxed{90^\circ}", "How many degrees?", True),
        ("90", r"\boxed{90^\circ}", "How many radians?", False),
        ("2", r"\boxed{2x}", "Find x. What is x?", False),
        ("B", r"\boxed{\text{(B)}}", "A or B?", True),
        ("B", "The answer is B.", "A or B?", True),
        ("B", "The answer is A or B.", "A or B?", False),
        ("B", "The answer is (B", "A or B?", False),
        ("Evelyn", "The answer is evelyn.", "Who?", True),
        (r"\text{Evelyn}", r"\boxed{Evelyn}", "Who?", True),
        ("Evelyn", "Evelyn", "Who?", True),
        ("Evelyn", "Evelyn or Ann", "Who?", False),
        ("Evelyn", "#### Evelyn\nand more", "Who?", False),
        ("[0,1)", r"\boxed{[0, 1)}", "Which interval?", True),
        ("(1,2)", r"\boxed{[1,2]}", "Which interval?", False),
        ("x^2+1", r"\boxed{x^2 + 1}", "Which polynomial?", True),
        ("yes", "Yes", "Is it?", True),
        ("yes", "yes and no", "Is it?", False),
    ],
)
def test_units_percentages_and_text(gold: str, completion: str, question: str, passed: bool) -> None:
    assert check(completion, gold, question).passed is passed


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (42, "42.0", "42.1"),
        (0.1, "1/10", "0.1000000000000000055511151231257827"),
        (Fraction(1, 3), r"\frac{2}{6}", "0.333333333333"),
        ("12345678901234567890", "12,345,678,901,234,567,890", "12345678901234567891"),
        ("1/2", "0.5", "0.05"),
        ("So 6 * 7 = 42\n#### 42", "42", "6"),
        (r"So $6 \cdot 7 = \boxed{42}$.", "42", "7"),
        (-0.0, "0", "-1"),
    ],
)
def test_known_answers_of_every_kind_are_matched_exactly(gold: object, right: str, wrong: str) -> None:
    assert check(right, gold).passed and check(wrong, gold).outcome == "fail"


@pytest.mark.parametrize("gold", [None, "", "  ", True, [42], {"a": 1}, "x" * 3000, "#### ", r"\boxed{}"])
def test_a_problem_without_a_usable_answer_is_an_error_that_names_it(gold: object) -> None:
    with pytest.raises(ValueError, match="p-7"):
        check("42", gold)


def test_a_pattern_of_the_users_replaces_all_rules() -> None:
    assert check("result=41; result=x; \nresult=42;", pattern=r"result=(\w+);").passed
    assert check("#### 42", pattern=r"result=(\w+);").outcome == "fail"
    assert check("result=41; result=42;", pattern=r"result=(\w+);").outcome == "fail"
    assert check("41\n42", pattern=r"\d+").passed


def test_case_counts_if_asked() -> None:
    assert check("Paris", "paris").passed
    assert not check("Paris", "paris", ignore_case=False).passed


def test_a_forced_prefix_is_part_of_the_answer() -> None:
    assert check(" 42.", prefix="The answer is").passed


def test_the_verdict_carries_what_was_read() -> None:
    verdict = check("#### 1,234.50", "7")
    assert verdict.answer == "1234.5" and "'7'" in verdict.reason and "1,234.50" in verdict.reason
    assert {check(f"#### {form}", "7").answer for form in ("0.5", "1/2", r"\frac12", "50e-2")} == {"0.5"}


@pytest.mark.parametrize(
    "bomb",
    [
        "the answer is " * 20_000,
        "the answer is 1 or " * 20_000,
        "\\boxed{" * 40_000,
        "\\boxed{" * 20_000 + "41" + "}" * 20_000,
        "#### " * 40_000,
        "####\n" * 40_000,
        "#### 1\n" * 40_000,
        "#### 1 " * 40_000,
        "<answer>" * 40_000,
        "<answer>1</answer> " * 20_000,
        "\\boxed{" + "7" * 300_000 + "}",
        "\\boxed{" + "1," * 100_000 + "}",
        "1 = " * 60_000,
        "7" * 10**6,
        "- " * 10**5,
        " " * 10**6,
        "\n" * 10**6,
        "\\" * 10**6,
        "{" * 10**6,
        "user" * 10**5,
        "# " * 10**5,
        "<think>" * 10**5,
        "\\frac{" * 10**5,
        "The answer is 9**9**9**9",
        "#### 5e-999999999",
        r"\boxed{99999999999!}",
    ],
)
def test_no_text_takes_long(bomb: str) -> None:
    started = time.monotonic()
    for gold in ("42", "some text"):
        assert check(bomb, gold).outcome == "fail"
    assert time.monotonic() - started < 20


@given(st.text(), st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_is_judged_unless_the_answer_is_missing(completion: str, gold: Any) -> None:
    try:
        verdict = check(completion, gold)
    except ValueError as error:
        assert "p-7" in str(error)
        return
    assert verdict.outcome in ("pass", "fail")


TEXT = st.text(st.sampled_from("\\boxed{}#answer is:<think>/=, .\n0123456789$%orSow"), max_size=60)


@given(TEXT, TEXT)
def test_any_soup_of_markers_is_judged(completion: str, tail: str) -> None:
    assert check(completion, "42").outcome in ("pass", "fail")
    assert check(completion + "\\boxed{42}" + tail, "42").outcome in ("pass", "fail")


@given(FRACTIONS, st.data())
def test_a_number_matches_all_its_spellings_in_both_roles(value: Fraction, data: st.DataObject) -> None:
    forms = [form for form in spellings(value) if len(form) < 200]
    gold, mine = data.draw(st.sampled_from(forms)), data.draw(st.sampled_from(forms))
    for completion in (f"#### {mine}", rf"\boxed{{{mine}}}", f"The answer is {mine}.", mine):
        assert check(completion, gold).passed, (gold, completion)
        assert check(f"#### {gold}", mine).passed


@given(FRACTIONS, FRACTIONS, st.data())
def test_different_numbers_never_match(one: Fraction, two: Fraction, data: st.DataObject) -> None:
    assume(one != two)
    gold, mine = data.draw(st.sampled_from(spellings(one))), data.draw(st.sampled_from(spellings(two)))
    for completion in (f"#### {mine}", rf"\boxed{{{mine}}}", f"The answer is {mine}.", mine):
        assert check(completion, gold).outcome == "fail", (gold, completion)


@given(
    st.lists(st.integers(0, 99), min_size=2, max_size=6, unique=True),
    st.sampled_from([" ", ", ", " or ", " and ", "; ", " = "]),
)
def test_a_list_of_candidates_never_wins_on_one_line(numbers: list[int], joiner: str) -> None:
    for form in ("{}", "#### {}", r"\boxed{{{}}}", "the answer is {}", "<answer>{}</answer>"):
        text = joiner.join(form.format(number) for number in numbers)
        assert not any(check(text, str(number)).passed for number in numbers), text
        listed = form.format(joiner.join(map(str, numbers)))
        assert not any(check(listed, str(number)).passed for number in numbers), listed


def gsm8k(split: str) -> list[dict[str, str]]:
    file = SHARED / "data" / "gsm8k" / f"{split}.jsonl"
    if not file.exists():
        pytest.skip("the GSM8K files are not beside this repository (../shared/data/gsm8k)")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_gsm8k_solutions_pass_their_own_answer_and_fail_their_neighbours() -> None:
    rows = gsm8k("test")
    golds = [row["answer"].rpartition("####")[2].strip() for row in rows]
    for index, (row, gold) in enumerate(zip(rows, golds, strict=True)):
        for completion in (row["answer"], gold, rf"So \boxed{{{gold}}}.", f"So the answer is {gold}."):
            assert check(completion, gold, row["question"]).passed, (completion, gold)
        assert check(row["answer"], row["answer"], row["question"]).passed
        other = next(other for other in golds[index + 1 :] + golds if other.replace(",", "") != gold.replace(",", ""))
        assert not check(f"#### {other}", gold, row["question"]).passed, (other, gold)


def test_gsm8k_solutions_without_a_marker_are_read_carefully() -> None:
    """Prose: most are found, and none by another's answer.

    The rest end in a sentence with several numbers, or in one that only mentions a number: that concludes nothing.
    """
    rows = gsm8k("test")
    read = 0
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):
        body, _, gold = row["answer"].rpartition("####")
        prose = re.sub("<<.*?>>", "", body)
        read += check(prose, gold.strip(), row["question"]).passed
        theirs = other["answer"].rpartition("####")[2].strip()
        same = theirs.replace(",", "") == gold.strip().replace(",", "")
        assert same or check(prose, theirs, other["question"]).answer != theirs
    assert read > 0.8 * len(rows)
