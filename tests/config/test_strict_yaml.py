"""YAML scalars mean what people mean, every key has its position, and nothing grows without bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import strict_yaml
from selfimprove.config.tree import InvalidConfig, Layer, Origin

ROOT = Origin("file", "f.yaml", Path("/"), 1, 1)


def parse(text: str) -> Layer:
    return strict_yaml.parse(text, ROOT)


def fault(text: str) -> str:
    with pytest.raises(InvalidConfig) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("+4", 4),
        ("010", 10),
        ("0x10", "0x10"),
        ("0o7", "0o7"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5e+3", -1500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1e", "1e"),
        (".", "."),
        ("-", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("v1.2.3", "v1.2.3"),
        ("| \n  a\n  b\n", "a\nb\n"),
        ("[a, 1, true]", ["a", 1, True]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse(f"k: {text}\n").value["k"] if text != "-" else parse("k:\n").value["k"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(parse("k: .nan").value["k"])


def test_positions_count_from_one_and_point_at_keys() -> None:
    layer = parse("a: 1\nb:\n  c: 2\n  d: [3,\n    4]\n")
    assert {key: (origin.line, origin.column) for key, origin in layer.origins.items()} == {
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", "c"): (3, 3),
        ("b", "d"): (4, 3),
        ("b", "d", 0): (4, 7),
        ("b", "d", 1): (5, 5),
    }


def test_anchors_and_merge_keys() -> None:
    layer = parse("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo:\n  <<: [{z: 0}, *b]\n  x: 9\n")
    assert layer.value["one"] == {"x": 1, "y": 3}
    assert layer.value["two"] == {"z": 0, "x": 9, "y": 2}
    assert layer.origins["one", "x"].line == 1
    assert layer.origins["one", "y"].line == 2


def test_a_quoted_merge_key_is_a_key() -> None:
    assert parse("'<<': {a: 1}").value == {"<<": {"a": 1}}


def test_merging_what_is_no_mapping() -> None:
    assert fault("a: {<<: [1]}") == "f.yaml:1:10: a: '<<' merges mappings only"


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "aliases make this larger than 50000 values" in fault("\n".join(lines))


def test_an_alias_cannot_hold_itself() -> None:
    assert "an alias that holds itself" in fault("a: &a [*a]")


def test_depth_is_bounded() -> None:
    assert "nested deeper than 50 levels" in fault("a: " + "[" * 2000 + "]" * 2000)


def test_a_number_is_bounded() -> None:
    assert fault("a: " + "9" * 5000) == "f.yaml:1:4: a: a number of more than 100 digits"


def test_control_characters_are_refused() -> None:
    assert "not valid YAML" in fault("a: \x00")


def test_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert strict_yaml.read(file, "f.yaml").value == {"a": 1}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["1e5", "on", "null", "1:30", "010", "2024-01-01", "<<", "=", "~", ".inf", "0x1", "a: b", "# c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_dumped_is_read_back(value: dict[str, Any]) -> None:
    found = parse(strict_yaml.dump(value)).value
    assert found == value
    assert repr(found) == repr(value)  # 1 is not 1.0 is not True


@given(st.text(max_size=200))
def test_any_text_gives_a_mapping_or_faults(text: str) -> None:
    try:
        assert isinstance(parse(text).value, dict)
    except InvalidConfig as error:
        assert error.faults
