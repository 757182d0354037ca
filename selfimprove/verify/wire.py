"""The bytes between a pool and its workers, and the page that says which sample is being judged.

Contract: a frame is an 8-byte length and a payload. Work goes to a worker as a pickle (it trusts its parent);
verdicts come back as JSON, checked on arrival, because a parent must not unpickle what a process wrote that ran
somebody's code. A job carries each problem once. What is judged in one call is a *unit*: one sample, or all samples
of a problem.

See it work: ``pytest tests/verify/test_wire.py``.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, cast

from selfimprove.errors import ConfigError
from selfimprove.types import Message, Outcome, Problem, Sample, Verdict

Unit = tuple[Problem, Sequence[Sample]]
MAX_REPLY = 64 * 2**20
LEAVING = {"leaving": True}
"""Said by a worker that ends itself, through no fault of the samples it has not judged."""

_LENGTH = struct.Struct("!Q")
_SAMPLE_FIELDS = attrgetter(*(field.name for field in fields(Sample)))
_OUTCOMES = frozenset({"pass", "fail", "error"})


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


def read_frame(descriptor: int) -> bytes | None:
    """The next frame of a blocking descriptor; None at its end."""
    header = _read(descriptor, _LENGTH.size)
    return None if header is None else _read(descriptor, _LENGTH.unpack(header)[0])


def split_frames(buffer: bytearray) -> Iterator[bytes]:
    """Takes the complete frames off the front of ``buffer``. Raises ValueError for one that no worker writes."""
    while len(buffer) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer)
        if length > MAX_REPLY:
            raise ValueError(f"a frame of {length} bytes")
        end = _LENGTH.size + length
        if len(buffer) < end:
            return
        payload = bytes(buffer[_LENGTH.size : end])
        del buffer[:end]
        yield payload


def encode_job(number: int, careful: bool, units: Sequence[Unit]) -> bytes:
    """A job as plain tuples: pickling frozen dataclasses one by one costs more than judging them.

    Raises ConfigError naming the problem if its answer, tests or meta cannot be pickled.
    """
    places: dict[int, int] = {}
    problems: list[tuple[Any, ...]] = []
    rows: list[tuple[int, tuple[tuple[Any, ...], ...]]] = []
    for problem, samples in units:
        place = places.get(id(problem))
        if place is None:
            place = places[id(problem)] = len(problems)
            problems.append(_problem_row(problem))
        rows.append((place, tuple(map(_sample_row, samples))))
    try:
        return frame(pickle.dumps((number, careful, problems, rows), pickle.HIGHEST_PROTOCOL))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise _unsendable(units, error) from error


def decode_job(payload: bytes) -> tuple[int, bool, list[Unit]]:
    """``(number, careful, units)``."""
    number, careful, problems, rows = pickle.loads(payload)
    known = [_problem(*row) for row in problems]
    return number, careful, [(known[place], [Sample(*fields) for fields in samples]) for place, samples in rows]


def encode_notice(notice: Mapping[str, Any]) -> bytes:
    return frame(json.dumps(notice).encode())


def encode_verdicts(number: int, first: int, units: Sequence[Sequence[Verdict]]) -> bytes:
    """The verdicts of the units of job ``number`` from ``first`` on."""
    rows = [[_verdict_row(verdict) for verdict in verdicts] for verdicts in units]
    return frame(json.dumps([number, first, rows], separators=(",", ":")).encode())


def _verdict_row(v: Verdict) -> list[Any]:
    return [v.outcome, v.score, v.answer, v.reason, v.error, v.steps, v.seconds, dict(v.measured)]


def decode_reply(payload: bytes) -> Any:
    """A worker's message: ``{"ready": facts}``, `LEAVING`, ``{"broken": why, "code": name}`` or ``(number, first,
    verdicts of each unit)``.

    Raises ValueError for anything else: something other than the worker wrote to its channel.
    """
    message = json.loads(payload)
    if isinstance(message, dict):
        facts = message.get("ready")
        ready = isinstance(facts, dict) and all(isinstance(value, str) for value in facts.values())
        if ready or message == LEAVING or isinstance(message.get("broken"), str):
            return message
    if not isinstance(message, list) or len(message) != 3 or not isinstance(message[2], list):
        raise ValueError("not a reply")
    number, first, units = message
    if not all(isinstance(rows, list) for rows in units):
        raise ValueError("not a reply")
    return number, first, [[_verdict(row) for row in rows] for rows in units]


class Progress:
    """One shared page: which sample is being judged, and since when (the monotonic clock, common to all processes).

    ``since`` is one aligned 8-byte word, so a reader never sees half of it; 0 means that nothing is being judged.
    ``position`` is exact once the writer is dead.
    """

    _SINCE, _POSITION = struct.Struct("=d"), struct.Struct("=qq")

    def __init__(self, descriptor: int) -> None:
        import mmap

        self._page = mmap.mmap(descriptor, mmap.PAGESIZE)

    @staticmethod
    def create() -> int:
        """A descriptor of a fresh page without a name."""
        import mmap
        import tempfile

        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("selfimprove-progress")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, mmap.PAGESIZE)
        return descriptor

    def begin(self, number: int, index: int) -> float:
        self._POSITION.pack_into(self._page, 8, number, index)
        now = time.monotonic()
        self._SINCE.pack_into(self._page, 0, now)
        return now

    def rest(self) -> None:
        self._SINCE.pack_into(self._page, 0, 0.0)

    @property
    def since(self) -> float:
        return float(self._SINCE.unpack_from(self._page, 0)[0])

    @property
    def position(self) -> tuple[int, int]:
        number, index = self._POSITION.unpack_from(self._page, 8)
        return number, index

    def close(self) -> None:
        self._page.close()


def _read(descriptor: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _problem_row(problem: Problem) -> tuple[Any, ...]:
    prompt = [(message.role, message.content) for message in problem.prompt]
    return problem.id, prompt, problem.answer, problem.tests, problem.task, dict(problem.meta)


def _problem(key: str, prompt: list[tuple[str, str]], *rest: Any) -> Problem:
    return Problem(key, tuple(Message(role, content) for role, content in prompt), *rest)


def _sample_row(sample: Sample) -> tuple[Any, ...]:
    row: tuple[Any, ...] = _SAMPLE_FIELDS(sample)
    if type(sample.token_ids) in (list, tuple) and type(sample.prompt_ids) in (list, tuple):
        return row
    # Arrays become lists, or every worker would import the array's library to read them.
    named = zip(fields(Sample), row, strict=True)
    return tuple([int(token) for token in value] if field.name.endswith("_ids") else value for field, value in named)


def _unsendable(units: Sequence[Unit], error: Exception) -> ConfigError:
    for problem, _ in units:
        try:
            pickle.dumps(_problem_row(problem))
        except (pickle.PicklingError, TypeError, AttributeError):
            what = f"problem {problem.id!r} holds something that cannot be sent to a verifier process: {error}"
            return ConfigError(what, hint="answer, tests and meta hold plain data: strings, numbers, lists, dicts")
    return ConfigError(f"a sample cannot be sent to a verifier process: {error}")


def _verdict(row: Any) -> Verdict:
    if not isinstance(row, list) or len(row) != 8:
        raise ValueError("not a verdict")
    outcome, score, answer, reason, error, steps, seconds, measured = row
    texts = isinstance(reason, str) and isinstance(answer, str | None) and isinstance(error, str | None)
    lists = isinstance(steps, list) and isinstance(measured, dict)
    if not isinstance(outcome, str) or outcome not in _OUTCOMES or not texts or not lists:
        raise ValueError("not a verdict")
    if not all(isinstance(number, float) for number in (score, seconds, *steps, *measured.values())):
        raise ValueError("not a verdict")
    return Verdict(cast(Outcome, outcome), score, answer, reason, error, tuple(steps), seconds, measured)
