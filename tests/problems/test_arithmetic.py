"""The arithmetic generator: distinct, right, repeatable, and honest about how many problems there are."""

import re
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.data import load
from selfimprove.errors import ConfigError
from selfimprove.plugins import resolve

arithmetic = resolve("problems", "arithmetic")


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(0, 300),
    seed=st.integers(0, 5),
    operations=st.sampled_from(["+", "-", "+-", "*+-", "++"]),
    minimum=st.integers(0, 3),
)
def test_rows_are_right_distinct_and_repeatable(n: int, seed: int, operations: str, minimum: int) -> None:
    rows = list(arithmetic(n, seed, operations=operations, minimum=minimum, maximum=30))
    assert len({row["prompt"] for row in rows}) == len(rows) == n
    for row in rows:
        match = re.fullmatch(r"(\d+)([+*-])(\d+)=", row["prompt"])
        assert match
        left, right = int(match[1]), int(match[3])
        assert (
            row["answer"]
            == row["completion"]
            == str({"+": left + right, "-": left - right, "*": left * right}[match[2]])
        )
        assert minimum <= min(left, right) and max(left, right) <= 30 and match[2] in operations
    assert list(islice(arithmetic(n + 50, seed, operations=operations, minimum=minimum, maximum=30), n)) == rows


def test_the_whole_space_and_no_more() -> None:
    assert len({row["prompt"] for row in arithmetic(20_000)}) == 20_000
    with pytest.raises(ValueError, match="there are 20000 such problems"):
        arithmetic(20_001)


@pytest.mark.parametrize(
    "args", [{"operations": "/"}, {"operations": ""}, {"minimum": 5, "maximum": 4}, {"minimum": -1}]
)
def test_impossible_settings_are_refused(args: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        arithmetic(1, **args)


def test_it_is_a_built_in_source(tmp_path: Path) -> None:
    problems = load("arithmetic", {"n": 500, "seed": 3}, base=tmp_path)
    assert len(problems) == 500 and problems[0].demonstration == problems[0].answer
    with pytest.raises(ConfigError, match="n=99999"):
        load("arithmetic", {"n": 99_999})


def test_seeds_differ() -> None:
    assert list(arithmetic(20, 1)) != list(arithmetic(20, 2))
