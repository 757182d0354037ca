"""Whatever a file says, loading it gives a configuration or a list of faults: never a crash, never silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfimprove.config import InvalidConfig, RunConfig, dump_yaml, keys_of, load_config, strict_yaml
from selfimprove.errors import ConfigError

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "recipe.py:keep",
            "recipe.py:",
            ":keep",
            "a/b",
            "problems.jsonl",
            "verifier.py:correct",
            "..",
            "/",
            "x.py",
            "~",
        ]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = [
    *keys_of(RunConfig),
    "recipe.samples",
    "recipe.args",
    "training.args.learning_rate",
    "extends",
    "unknown",
    "a.b",
]


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *parents, last = dotted.split(".")
        inner = tree
        for parent in parents:
            if not isinstance(inner.get(parent), dict):
                inner[parent] = {}
            inner = inner[parent]
        inner[last] = value
    return tree


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=4))
def test_a_file(project: Path, changes: dict[str, Any]) -> None:
    Path("any.yaml").write_text(strict_yaml.dump(nested(changes)), encoding="utf-8", errors="surrogatepass")
    try:
        config = load_config(["good.yaml", "any.yaml"])
    except InvalidConfig as error:
        assert error.faults
        assert all(fault.what and fault.origin.location for fault in error.faults)
    else:
        Path("again.yaml").write_text(dump_yaml(config), encoding="utf-8")
        assert repr(load_config(["again.yaml"])) == repr(config)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(key=st.sampled_from(KEYS) | st.text(max_size=10), plus=st.booleans(), value=st.text(max_size=12))
def test_an_override(project: Path, key: str, plus: bool, value: str) -> None:
    try:
        load_config(["good.yaml"], [f"{key}{'+' if plus else ''}={value}"])
    except ConfigError as error:
        assert str(error)
