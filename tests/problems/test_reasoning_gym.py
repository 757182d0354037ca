"""The reasoning-gym adapter: its rows if the package is there, the line that installs it if not."""

import importlib.util

import pytest

from selfimprove.data import load
from selfimprove.errors import ConfigError, PreconditionError

INSTALLED = importlib.util.find_spec("reasoning_gym") is not None


@pytest.mark.skipif(INSTALLED, reason="the package is installed")
def test_without_the_package_the_fix_is_named() -> None:
    with pytest.raises(PreconditionError, match="pip install reasoning-gym"):
        load("reasoning_gym", {"n": 3, "task": "chain_sum"})


@pytest.mark.skipif(not INSTALLED, reason="needs pip install reasoning-gym")
def test_rows_are_distinct_and_repeatable() -> None:
    args = {"n": 50, "seed": 1, "task": "chain_sum"}
    problems = load("reasoning_gym", args)
    assert len(problems) == 50 and problems == load("reasoning_gym", args)
    assert problems[0].answer and problems[0].meta == {"puzzle": "chain_sum"}


@pytest.mark.skipif(not INSTALLED, reason="needs pip install reasoning-gym")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n": 5, "task": "chainsum"}, "chain_sum"),
        ({"n": 5, "task": "chain_sum", "foo": 3}, "refuses"),
        ({"n": 5, "task": "chain_sum", "min_terms": 9, "max_terms": 3}, "refuses"),
        ({"n": 10_000, "task": "chain_sum", "max_terms": 2, "max_digits": 1}, "distinct questions"),
    ],
)
def test_what_it_cannot_do(args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("reasoning_gym", args)
