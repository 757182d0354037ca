"""What is written reads back equal, and equal rows have equal digests. Run: pytest tests/store/test_tables.py"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError, IntegrityError
from selfimprove.store import tables
from selfimprove.types import Demonstration, Label, Message, PreferencePair, Sample, Turn, Verdict

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
ids = st.lists(st.integers(0, 2**31 - 1), max_size=5)
samples = st.builds(
    Sample,
    id=text,
    problem_id=text,
    index=st.integers(0, 1000),
    view=text,
    prompt=text,
    prompt_ids=ids,
    completion=text,
    token_ids=ids,
    finish=st.sampled_from(["stop", "length", "abort"]),
    seed=st.integers(0, 2**53 - 1),
    policy=text,
    prefix=text,
    parent=st.none() | text,
    turns=st.lists(st.builds(Turn, text, st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=2).map(tuple),
    logprob=st.none() | st.floats(-100, 0),
)
verdicts = st.builds(
    Verdict,
    outcome=st.sampled_from(["pass", "fail", "error"]),
    score=st.floats(allow_nan=False, allow_infinity=False),
    answer=st.none() | text,
    reason=text,
    error=st.none() | text,
    steps=st.lists(st.floats(0, 1), max_size=3).map(tuple),
    seconds=st.floats(0, 10),
)
prompt = st.lists(st.builds(Message, text, text), min_size=1, max_size=2).map(tuple)
sources = st.lists(text, max_size=2).map(tuple)
examples = st.one_of(
    st.lists(st.builds(Demonstration, prompt, text, st.none() | ids, st.none() | ids, st.floats(0, 2), sources)),
    st.lists(
        st.builds(
            PreferencePair, prompt, text, text, st.none() | ids, st.none() | ids, st.none() | ids, st.just(1.0), sources
        )
    ),
    st.lists(st.builds(Label, prompt, text, st.booleans(), st.none() | ids, st.none() | ids, st.just(1.0), sources)),
)
many = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(st.lists(samples, max_size=5))
def test_samples_read_back_equal(tmp_path: Path, rows: list[Sample]) -> None:
    path = tmp_path / "s.parquet"
    tables.write(path, tables.sample_table(rows))
    assert tables.samples_of(tables.read(path)) == rows


@many
@given(st.lists(verdicts, max_size=5))
def test_verdicts_read_back_equal(tmp_path: Path, rows: list[Verdict]) -> None:
    path = tmp_path / "v.parquet"
    tables.write(path, tables.verdict_table([str(i) for i in range(len(rows))], rows))
    assert tables.verdicts_of(tables.read(path)) == rows


@many
@given(examples)
def test_examples_read_back_equal_and_dry_digests_agree(tmp_path: Path, rows: list) -> None:
    kind = type(rows[0]) if rows else Demonstration
    path = tmp_path / "e.parquet"
    stamp, count = tables.write_examples(path, iter(rows), kind)
    assert list(tables.read_examples(path)) == rows and count == len(rows)
    assert tables.write_examples(None, iter(rows), kind) == (stamp, count)


@many
@given(samples, st.sampled_from(["completion", "seed", "finish", "token_ids"]))
def test_digests_see_content_and_ignore_what_was_measured(row: Sample, name: str) -> None:
    changed = {"completion": row.completion + "x", "seed": row.seed + 1, "finish": "repetition", "token_ids": [7] * 9}
    stamp = tables.table_digest(tables.sample_table([row]))
    assert stamp == tables.table_digest(tables.sample_table([replace(row, logprob=-1.5)]))
    assert stamp != tables.table_digest(tables.sample_table([replace(row, **{name: changed[name]})]))


def test_mixed_kinds_are_refused(tmp_path: Path) -> None:
    question = (Message("text", "1+1="),)
    rows = [Demonstration(question, "2"), PreferencePair(question, "2", "3")]
    with pytest.raises(ConfigError, match="Demonstration and then PreferencePair"):
        tables.write_examples(tmp_path / "e.parquet", rows, Demonstration)


def test_a_flipped_bit_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    tables.write(
        path, tables.verdict_table([str(i) for i in range(500)], [Verdict("pass", float(i)) for i in range(500)])
    )
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 4] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"v\.parquet"):
        tables.read(path)
