"""Numbers as people write them, and whose words a completion holds."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selfimprove.text import canonical, clean, own_words, plain, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        (" +42. ", "42"),
        ("042", "42"),
        ("-0", "0"),
        ("\u221242", "-42"),
        ("- 42", "-42"),
        ("42.0", "42"),
        ("42.", "42"),
        (".5", "1/2"),
        ("1,234.50", "2469/2"),
        ("1,234,567", "1234567"),
        ("1\u2009234", "1234"),
        ("12\u202f345\u202f678", "12345678"),
        (r"1\,234", "1234"),
        ("1{,}234", "1234"),
        ("1/2", "1/2"),
        ("-1/2", "-1/2"),
        ("1 1/2", "3/2"),
        ("-1 1/2", "-3/2"),
        ("\u00bd", "1/2"),
        ("1\u00bd", "3/2"),
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac12", "1/2"),
        (r"-\frac{1}{2}", "-1/2"),
        (r"\frac{-1}{2}", "-1/2"),
        (r"-\frac{-1}{2}", "1/2"),
        (r"1\frac{1}{2}", "3/2"),
        ("1e3", "1000"),
        ("4.2E-1", "21/50"),
        (r"4.2\times10^4", "42000"),
        ("4.2 \u00d7 10^{4}", "42000"),
        ("$42$", "42"),
        (r"\$42", "42"),
        ("-$42", "-42"),
        ("\u20ac42", "42"),
        ("42\u20ac", "42"),
        (r"\text{42}", "42"),
        ("**42**", "42"),
        (r"\(42\)", "42"),
        ("\uff14\uff12", "42"),
        ("\u0664\u0662", "42"),
        ("9" * 299, "9" * 299),
    ],
)
def test_a_number_is_read_exactly(text: str, value: str) -> None:
    read = quantity(text)
    assert read is not None and read.value == Fraction(value) and not read.percent and not read.unit


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            " ",
            "-",
            ".",
            "forty-two",
            "4 2",
            "1,00,0",
            "3,5",
            "0,123",
            "1,23",
            "1,2345",
            "4_2",
            "0x2a",
            "1.2.3",
            "1..2",
        ],
        *[
            "\u2463\u2461",
            "42\u00b2",
            "\u202e24\u202c",
            "4\u200b2x3",
            "inf",
            "nan",
            "infinity",
            "True",
            "1e99999",
            "1e9999",
        ],
        *["3-4", "3\u20134", "3 or 4", "3, 4", "42 43", "not 42", ">41", "\u00b142", r"\pm 42", "~42", "\u224842"],
        *["6*7", "6 x 7", r"17\times 24", "2^10", "42!", "9**9", "1/0", "1/2/3", "(42)", "[42]", "x", "f(42)", "17=42"],
        *[r"100\pi", r"\infty", r"\sqrt{2}", r"\frac{0}{0}", "42 is the one that I mean", "9" * 301, "7" * 10**6],
    ],
)
def test_what_is_not_clearly_a_number_is_none(text: str) -> None:
    assert quantity(text) is None


@pytest.mark.parametrize(
    ("text", "percent", "unit"),
    [
        ("42%", True, ""),
        (r"42\%", True, ""),
        ("42 percent", True, ""),
        ("42 apples", False, "apples"),
        (r"42\text{ cm}", False, "cm"),
        (r"42 \mathrm{cm}", False, "cm"),
        ("42 red  apples", False, "red apples"),
        (r"42^\circ", False, "degree"),
        (r"42^{\circ}", False, "degree"),
        ("42\u00b0", False, "degree"),
        ("42 million", False, "million"),
    ],
)
def test_signs_and_units_are_kept_apart(text: str, percent: bool, unit: str) -> None:
    read = quantity(text)
    assert read is not None and (read.value, read.percent, read.unit) == (42, percent, unit)


FRACTIONS = st.fractions(-(10**12), 10**12, max_denominator=10**6)


def spellings(value: Fraction) -> list[str]:
    """Ways to write the same rational."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    forms = [canonical(value), f"{value.numerator * 3}/{value.denominator * 3}"]
    forms += [
        rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}",
        rf"$\frac{{{value.numerator}}}{{{size.denominator}}}$",
    ]
    whole, rest = divmod(size, 1)
    if rest and whole:
        forms.append(f"{sign}{whole} {rest}")
    if "/" not in canonical(value):
        digits, _, decimals = canonical(size).partition(".")
        forms += [
            f"{sign}{int(digits):,}.{decimals}0",
            f"\u2212{digits}.{decimals}00" if sign else f"+{digits}.{decimals}00",
        ]
        forms += [
            f"{sign}{digits}{decimals}e-{len(decimals)}",
            f"${sign}{digits}.{decimals}$",
            f"{sign}00{digits}.{decimals}",
        ]
    return forms


@given(FRACTIONS)
def test_all_spellings_of_a_number_are_that_number(value: Fraction) -> None:
    for form in spellings(value):
        read = quantity(form)
        assert read is not None and read.value == value, form


@given(FRACTIONS, FRACTIONS)
def test_spellings_of_different_numbers_never_meet(one: Fraction, two: Fraction) -> None:
    assume(one != two)
    values = [{read.value for form in spellings(value) if (read := quantity(form))} for value in (one, two)]
    assert not values[0] & values[1]


@given(st.fractions())
def test_the_canonical_spelling_is_unique_and_reads_back(value: Fraction) -> None:
    spelled = canonical(value)
    read = quantity(spelled)
    assert len(spelled) > 300 or (read is not None and read.value == value and canonical(read.value) == spelled)


@given(st.text(max_size=400))
def test_any_text_is_read_without_failing(text: str) -> None:
    quantity(text)
    plain(text)
    own_words(text).encode(errors="surrogatepass")


def test_huge_exponents_and_digits_cost_nothing() -> None:
    started = time.monotonic()
    for text in ("5e-999999999", "9" * 10**6, "1," * 10**5, "-" * 10**6, "\\frac" * 10**5, "1e1000", "1/" + "3" * 200):
        quantity(text)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("completion", "own"),
    [
        ("42", "42"),
        ("<think>41</think>42", "42"),
        ("<think>41</think><think>40</think> 42 ", "42"),
        ("<think>41", ""),
        ("no tag</think>42", "42"),
        ("42<|im_end|>43", "42"),
        ("42</s>\n43", "42"),
        ("42\nUser: no, 43", "42"),
        ("42\n\n### Question: what is 43?", "42"),
        ("42\n**Human:** 43", "42"),
        ("Assistant: 42", "42"),
        ("The user: 42", "The user: 42"),
        ("Ask the\nquestioner: 42", "Ask the\nquestioner: 42"),
    ],
)
def test_only_the_policys_own_answer_counts(completion: str, own: str) -> None:
    assert own_words(completion) == own


def test_cleaning_marks_what_cannot_be_stored_and_says_what_it_cut() -> None:
    assert clean("a\ud800b\x00", 10) == "a\ufffdb\ufffd"
    assert clean("fine", 4) == "fine"
    cut = clean("x" * 1000, 40)
    assert len(cut) == 40 and cut.endswith("... (1000 characters)")
