"""What crosses between the pool and its workers."""

from __future__ import annotations

import json
import os
import pickle

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.types import Sample, Verdict
from selfimprove.verify import wire
from tests.verify.support import problem, sample


def payload(data: bytes) -> bytes:
    (only,) = wire.split_frames(bytearray(data))
    return only


def test_a_job_carries_each_problem_once_and_every_field() -> None:
    one, two = problem("1"), problem({"nested": [1, None]})
    units = [(one, [sample("a")]), (two, [sample("b\ud800\x00")]), (one, [sample("c", index=2), sample("d", index=3)])]
    number, careful, arrived = wire.decode_job(payload(wire.encode_job(7, True, units)))
    assert (number, careful, arrived) == (7, True, units)
    assert arrived[0][0] is arrived[2][0]


def test_a_groups_common_problem_costs_little_per_sample() -> None:
    long = problem("x" * 10_000)
    one, many = (len(wire.encode_job(1, False, [(long, [sample("y")])] * count)) for count in (1, 64))
    assert many < one + 64 * 200


def test_arrays_of_token_ids_arrive_as_lists() -> None:
    plain = sample("a")
    fields = {name: getattr(plain, name) for name in plain.__slots__}
    given_ids = Sample(**{**fields, "token_ids": numpy.array([5, 6], dtype=numpy.int32)})
    _, _, ((_, (arrived,)),) = wire.decode_job(payload(wire.encode_job(1, False, [(problem(), [given_ids])])))
    assert arrived.token_ids == [5, 6]


def test_a_problem_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(ConfigError, match="p-1"):
        wire.encode_job(1, False, [(problem(open), [sample("a")]), (problem(lambda: 1), [sample("a")])])


@given(
    st.lists(
        st.builds(
            Verdict,
            st.sampled_from(["pass", "fail", "error"]),
            st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.text(),
            st.text(),
            st.none() | st.text(),
            st.tuples() | st.tuples(st.floats(allow_nan=False, allow_infinity=False)),
            st.floats(0, 1e6),
            st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
        )
    ).flatmap(lambda verdicts: st.lists(st.just(verdicts), max_size=3))
)
def test_verdicts_arrive_unchanged(units: list[list[Verdict]]) -> None:
    assert wire.decode_reply(payload(wire.encode_verdicts(3, 5, units))) == (3, 5, units)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"junk",
        b"\xff\xfe",
        b"null",
        b"{}",
        b'{"ready": 1, "x": 2}',
        b'{"broken": 3}',
        b"[1, 2]",
        b"[1, 2, 3]",
        b"[1, 2, [3]]",
        b'[1, 0, [[["pass", 1.0, null, "", null, [], 0.0, [1.0]]]]]',
        b'[1, 0, [[["pass", 1.0, null, "", null, [], 0.0, {"seconds": "1"}]]]]',
        b'[1, 0, [[["pass"]]]]',
        b'[1, 0, [[["maybe", 1.0, null, "", null, [], 0.0, {}]]]]',
        b'[1, 0, [[["pass", "1", null, "", null, [], 0.0, {}]]]]',
        b'[1, 0, [[["pass", 1.0, 2, "", null, [], 0.0, {}]]]]',
        b'[1, 0, [[["pass", 1.0, null, "", null, [null], 0.0, {}]]]]',
        b'[1, 0, [[[["pass"], 1.0, null, "", null, [], 0.0, {}]]]]',
        pickle.dumps(["a pickle is not read"]),
    ],
)
def test_what_no_worker_writes_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        wire.decode_reply(message)


def test_frames_are_split_wherever_the_bytes_break() -> None:
    data = b"".join(wire.frame(part) for part in (b"one", b"", b"three" * 1000))
    for step in (1, 7, 4096):
        buffer, found = bytearray(), []
        for start in range(0, len(data), step):
            buffer += data[start : start + step]
            found += list(wire.split_frames(buffer))
        assert found == [b"one", b"", b"three" * 1000] and not buffer


def test_a_frame_of_absurd_length_is_refused_before_it_is_awaited() -> None:
    with pytest.raises(ValueError):
        list(wire.split_frames(bytearray(b"\xff" * 9)))


def test_progress_is_seen_through_another_mapping() -> None:
    descriptor = wire.Progress.create()
    writer, reader = wire.Progress(descriptor), wire.Progress(descriptor)
    os.close(descriptor)
    assert reader.since == 0
    since = writer.begin(12, 34)
    assert (reader.since, reader.position) == (since, (12, 34))
    writer.rest()
    assert (reader.since, reader.position) == (0, (12, 34))
    writer.close()
    reader.close()


def test_notices_are_read_back() -> None:
    for notice in ({"ready": {"isolation": "namespaces"}}, wire.LEAVING, {"broken": "why"}):
        assert wire.decode_reply(payload(wire.encode_notice(notice))) == notice
        assert json.loads(payload(wire.encode_notice(notice))) == notice
