"""Problems from files and generators: read, checked row by row, identified by content, split by hash.

Contract: a problem's id hashes its prompt (and an optional key), never a row number, so the order of rows has no
effect. Every bad row is found and named (``file:line``) before anything is raised. Numbers in answers keep the
text that the file spells them with (``0.10`` stays ``"0.10"``). Reading needs memory for the problems only, not
for the file.

See it work: ``pytest tests/test_data.py``.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.readers import csv_rows, lines, parquet_rows
from selfimprove.rows import COLUMNS, BadRow, answer_by, parse_json, plain, problem_fields
from selfimprove.types import Message, Problem, messages

# Longer than the context of nearly every model; a longer prompt is nearly always a broken export.
MAX_PROMPT_CHARS = 500_000
_SHOWN = 20
_ENDINGS = (".jsonl", ".jsonl.gz", ".parquet", ".csv")
_FORMATS = ".jsonl, .jsonl.gz, .parquet or .csv"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a source held. ``duplicates`` rows repeated a problem and were counted once; ``notes`` say so in words."""

    problems: list[Problem]
    rows: int
    duplicates: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint problems: to learn from, to decide by, and to report on. Each in hash order."""

    train: tuple[Problem, ...]
    gate: tuple[Problem, ...]
    report: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """Numbered raw rows; ``parse`` makes a dict of one or raises BadRow; ``place`` names one for people."""

    rows: Iterator[tuple[int, Any]]
    parse: Callable[[Any], Mapping[str, Any]]
    name: str
    unit: str

    def place(self, number: int) -> str:
        return f"{self.name}:{number}" if self.unit == "line" else f"{self.name}:{self.unit} {number}"


def load(
    source: str,
    args: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | None] | None = None,
    base: Path | None = None,
    *,
    require: Sequence[str] = (),
) -> list[Problem]:
    """The distinct problems of a source, in order of first appearance. See `read`."""
    return read(source, args, columns, base, require=require).problems


def read(
    source: str,
    args: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | None] | None = None,
    base: Path | None = None,
    *,
    require: Sequence[str] = (),
) -> Loaded:
    """Read ``source``: a .jsonl, .jsonl.gz or .parquet file (relative to ``base``) or a problem generator's spec.

    ``columns`` maps prompt, answer, completion, tests, task and key to the file's names for them; all other
    columns go to ``meta``, the completion to ``meta["demonstration"]``. ``args`` are the generator's; a file takes
    ``max_prompt_chars`` only. ``require`` lists columns of the six that every row must fill.

    A row that repeats a problem with the same answer, tests and task is counted once (the first one is kept).
    Raises ConfigError naming up to 20 bad rows, and PreconditionError if the file is missing or not readable.
    """
    named = dict(columns or {})
    pattern = named.pop("answer_pattern", None)
    names, given, max_chars = _columns(named), dict(args or {}), MAX_PROMPT_CHARS
    if _names_file(source):
        max_chars = _max_chars(source, given)
        opened = _open_file(source, base, names["answer"])
    else:
        opened = _open_generator(source, given, base, names["answer"])
    shelf = _Shelf(opened, names, tuple(require), max_chars, re.compile(pattern) if pattern else None)
    for number, raw in opened.rows:
        shelf.add(number, raw)
    return shelf.close()


class _Shelf:
    """Collects problems and bad rows of one source; owns nothing but memory."""

    def __init__(
        self,
        source: _Source,
        names: dict[str, str],
        require: tuple[str, ...],
        max_chars: int,
        pattern: re.Pattern[str] | None,
    ) -> None:
        self.source, self.names, self.require, self.max_chars = source, names, require, max_chars
        self.pattern = pattern
        self.problems: dict[str, Problem] = {}
        self.first: dict[str, int] = {}
        self.rows = self.duplicates = self.other_completions = self.bad_rows = 0
        self.bad: list[str] = []
        self.unseen = {role: name for role, name in names.items() if name != role}
        self.known: dict[str, None] = {}

    def add(self, number: int, raw: Any) -> None:
        self.rows += 1
        try:
            row = self.source.parse(raw)
            self._note_columns(row)
            key, fields = problem_fields(row, self.names, self.require, self.max_chars)
            if self.pattern is not None:
                fields["answer"] = answer_by(self.pattern, fields["answer"], fields["meta"].get("demonstration"))
            self._keep(number, Problem(problem_id(fields["prompt"], key), **fields))
        except BadRow as error:
            self._reject(number, str(error))
        except RecursionError:
            self._reject(number, "nested too deeply; flatten it")

    def _reject(self, number: int, what: str) -> None:
        self.bad_rows += 1
        if len(self.bad) < _SHOWN:
            self.bad.append(f"{self.source.place(number)}: {what}")

    def close(self) -> Loaded:
        if self.bad:
            more = [f"... and {self.bad_rows - len(self.bad):,} more"] if self.bad_rows > len(self.bad) else []
            lines = "\n  ".join([*self.bad, *more])
            count = f"{self.bad_rows:,} of {self.rows:,} {self.source.unit}s"
            raise ConfigError(f"{self.source.name}: {count} cannot be used:\n  {lines}")
        if not self.rows:
            raise ConfigError(f"{self.source.name} holds no problems; it needs at least one {self.source.unit}")
        if self.unseen:
            role, name = next(iter(self.unseen.items()))
            near = difflib.get_close_matches(name, self.known, 1)
            guess = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(self.known)}"
            raise ConfigError(f"{self.source.name}: no {self.source.unit} has {name!r} (columns.{role}){guess}")
        return Loaded(list(self.problems.values()), self.rows, self.duplicates, tuple(self._notes()))

    def _note_columns(self, row: Mapping[str, Any]) -> None:
        if self.unseen:
            self.known.update(dict.fromkeys(row))
            self.unseen = {role: name for role, name in self.unseen.items() if name not in row}

    def _keep(self, number: int, problem: Problem) -> None:
        kept = self.problems.setdefault(problem.id, problem)
        if kept is problem:
            self.first[problem.id] = number
            return
        for field in ("answer", "tests", "task"):
            ours, theirs = getattr(problem, field), getattr(kept, field)
            if ours != theirs:
                before = self.source.place(self.first[problem.id])
                what = f"asks the same as {before} with another {field} ({_brief(ours)}, there {_brief(theirs)})"
                raise BadRow(f"{what}; correct one, or tell them apart with a 'key' column")
        self.duplicates += 1
        self.other_completions += problem.demonstration not in (None, kept.demonstration)

    def _notes(self) -> Iterator[str]:
        if self.duplicates:
            yield f"{self.source.name}: {self.duplicates:,} repeated {self.source.unit}s counted once"
        if self.other_completions:
            yield (
                f"{self.source.name}: {self.other_completions:,} of them have another completion, which is not used; "
                "a 'key' column keeps them as problems of their own"
            )


def problem_id(prompt: str | Iterable[Mapping[str, str] | Message], key: str | None = None) -> str:
    """16 hex digits of blake3 over the prompt's messages and the key: the same in every file and on every machine."""
    content = [[message.role, message.content] for message in messages(prompt)]
    return blake3.blake3(_canonical([content, key])).hexdigest()[:16]


def splits(problems: Sequence[Problem], gate: int, report: int, seed: int = 0) -> Splits:
    """Split by hash of the id: the ``gate`` lowest, the ``report`` highest, the rest to train on.

    Counts are exact, because the width of an interval depends on them. Taking the two from opposite ends keeps growth
    safe: adding problems moves a few held-out ones to train, and never one the other way or from gate to report.
    Removing problems does move trained ones to a held-out end. Order and content of the file play no part.

    Raises ConfigError if no problem is left to train on.
    """
    if gate < 0 or report < 0:
        raise ConfigError(f"gate ({gate}) and report ({report}) count problems: they cannot be negative")
    if len(problems) <= gate + report:
        raise ConfigError(
            f"{len(problems):,} problems leave none to train on after gate ({gate:,}) and report ({report:,})",
            hint="add problems, or lower data.gate and data.report",
        )
    ranked = sorted(problems, key=lambda problem: (_rank(problem.id, seed), problem.id))
    end = len(ranked) - report
    return Splits(tuple(ranked[gate:end]), tuple(ranked[:gate]), tuple(ranked[end:]))


def problems_digest(problems: Iterable[Problem]) -> str:
    """blake3 of what is asked (ids and prompts), whatever the order: a change means sampling again."""
    return _digest((problem.id, [[m.role, m.content] for m in problem.prompt]) for problem in problems)


def answers_digest(problems: Iterable[Problem]) -> str:
    """blake3 of what verifiers see besides (answer, tests, task, meta), whatever the order: a change re-judges."""
    return _digest((p.id, [p.answer, p.tests, p.task, p.meta]) for p in problems)


def _digest(items: Iterable[tuple[str, Any]]) -> str:
    digest = blake3.blake3()
    for identity, content in sorted(items, key=lambda item: item[0]):
        digest.update(_canonical([identity, content]) + b"\n")
    return str(digest.hexdigest())


def _rank(identity: str, seed: int) -> bytes:
    return bytes(blake3.blake3(f"{seed}/{identity}".encode()).digest())


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=dict).encode()


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _columns(columns: Mapping[str, str | None] | None) -> dict[str, str]:
    given = {role: name for role, name in (columns or {}).items() if name}
    unknown = [role for role in given if role not in COLUMNS]
    if unknown:
        raise ConfigError(f"columns.{unknown[0]}: no such column; there are: {', '.join(COLUMNS)}")
    return {role: given.get(role, role) for role in COLUMNS}


def _names_file(source: str) -> bool:
    """A spec is a bare name or has a colon; everything else was meant as a file."""
    return source.lower().endswith(_ENDINGS) or not (source.isidentifier() or ":" in source)


def _max_chars(source: str, args: dict[str, Any]) -> int:
    size = args.pop("max_prompt_chars", MAX_PROMPT_CHARS)
    if args:
        raise ConfigError(f"{source}: a file takes no argument {next(iter(args))!r}, only max_prompt_chars")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"{source}: max_prompt_chars must be a whole number above 0, got {size!r}")
    return size


def _open_file(source: str, base: Path | None, answer: str) -> _Source:
    path = _existing(source, base)
    if not source.lower().endswith(_ENDINGS):
        array = "; a JSON array becomes JSONL with: jq -c '.[]' file.json > file.jsonl"
        raise ConfigError(f"{source}: unknown kind of file; use {_FORMATS}{array if path.suffix == '.json' else ''}")
    if path.suffix.lower() == ".parquet":
        return _Source(parquet_rows(path, source, answer), lambda row: plain(row, answer), source, "row")
    if path.suffix.lower() == ".csv":
        return _Source(csv_rows(path, source), lambda row: plain(row, answer), source, "row")
    return _Source(lines(path, source), lambda line: parse_json(line, answer), source, "line")


def _existing(source: str, base: Path | None) -> Path:
    path = (base or Path()) / Path(source).expanduser()
    if path.is_dir():
        raise ConfigError(f"{source} is a directory; name one {_FORMATS} file in it")
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], 1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise PreconditionError(f"no file {source!r} in {path.parent.absolute()}{guess}")
    return path


def _open_generator(spec: str, args: dict[str, Any], base: Path | None, answer: str) -> _Source:
    from selfimprove import plugins

    generator = plugins.resolve("problems", spec, base)
    for name in {"n", "seed"} & args.keys():
        if isinstance(args[name], bool) or not isinstance(args[name], int):
            raise ConfigError(f"{spec}: {name} must be a whole number, got {args[name]!r}")
    signature = inspect.signature(generator)
    seed = signature.parameters.get("seed")
    if seed is not None and seed.default is inspect.Parameter.empty:
        args.setdefault("seed", 0)
    try:
        signature.bind(**args)
    except TypeError as error:
        raise ConfigError(f"{spec}: {error}; its arguments (args) are {signature}") from error
    return _Source(_generated(generator, args, spec), lambda row: plain(row, answer), spec, "row")


def _generated(generator: Callable[..., Iterable[Any]], args: dict[str, Any], spec: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(generator(**args), 1)
    except (PreconditionError, ConfigError):
        raise
    except ValueError as error:
        raise ConfigError(f"{spec}: {error}") from error
