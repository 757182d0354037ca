"""What a command prints: one result on stdout, everything else on stderr, and the exit code.

Contract: with ``--json`` stdout holds exactly one object of schema ``selfimprove.cli/1``, on success and on failure
alike. Whatever libraries print while a command works goes to stderr. Control characters (a model may have written
them) are shown as escapes and never reach a terminal.

See it work: ``selfimprove config validate quickstart --json``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TextIO

SCHEMA = "selfimprove.cli/1"
# Ends that are no errors, yet not a plain success: code -> the name that ``--json`` gives it.
ENDINGS = {3: "not_better", 7: "budget", 75: "stopped", 76: "lease_held", 130: "interrupted"}

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@dataclass(frozen=True)
class Result:
    """What a command found: ``data`` for programs, ``text`` for people. ``error`` is None on success."""

    data: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    exit_code: int = 0
    warnings: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None


def failure(error: BaseException) -> Result:
    """The result that an exception stands for; of an unexpected one the traceback goes to a file."""
    import click

    from selfimprove.errors import SelfImproveError

    if isinstance(error, SelfImproveError):
        faults = [fault_data(fault) for fault in getattr(error, "faults", ())]
        location = getattr(error, "location", None)
        described = _error(error.code, str(error), error.hint, location)
        return Result({"problems": faults} if faults else {}, "", error.exit_code, (), described)
    if isinstance(error, click.ClickException):
        return Result({}, "", 2, (), _error("usage", error.format_message(), _usage_hint(error)))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Result({}, "", 130, (), _error("interrupted", "interrupted: the same command continues"))
    file = _write_traceback(error)
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    return Result({"traceback": file}, "", 1, (), _error("internal", f"internal error: {said} (traceback: {file})"))


def fault_data(fault: Any) -> dict[str, Any]:
    """A configuration fault for programs."""
    from selfimprove.config.tree import locate

    return {"location": locate(fault.origin), "key": fault.key, "message": fault.what}


def emit(result: Result, command: str, *, as_json: bool) -> int:
    """Print a result and return its exit code."""
    try:
        if as_json:
            print(json.dumps(envelope(result, command), allow_nan=False))
        else:
            _for_people(result)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has seen enough: say nothing at exit either
    return result.exit_code


def envelope(result: Result, command: str) -> dict[str, Any]:
    """The one object of ``--json``."""
    error = result.error
    if error is None and result.exit_code:
        error = _error(ENDINGS.get(result.exit_code, "failed"), result.text)
    return {
        "schema": SCHEMA,
        "command": command,
        "ok": result.exit_code == 0,
        "exit_code": result.exit_code,
        "data": plain(result.data),
        "warnings": list(result.warnings),
        "error": plain(error),
    }


def clean(text: str) -> str:
    """The text with control, bidirectional and broken characters as visible escapes; newlines and tabs stay."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode(), text)


def plain(value: Any) -> Any:
    """The value as strict JSON can hold it: NaN and infinity become null, paths and the unknown become text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return str(value)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """While a command works, let prints of libraries, and of processes they start, go to stderr."""
    sys.stdout.flush()
    kept = _duplicate_stdout()
    if kept is not None:
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def tolerant(*streams: TextIO) -> None:
    """Let no character that a terminal lacks raise an error."""
    for stream in streams:
        with contextlib.suppress(AttributeError, ValueError):  # a test's stand-in for a stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]


def _duplicate_stdout() -> int | None:
    try:
        return os.dup(1)
    except OSError:  # closed by whoever started us
        return None


def _for_people(result: Result) -> None:
    for warning in result.warnings:
        print(f"{_painted('warning:', '33')} {clean(warning)}", file=sys.stderr)
    if result.text:
        print(clean(result.text.rstrip("\n")))
    if result.error is not None:
        message, hint = clean(result.error["message"]), clean(result.error["hint"])
        located = result.error["location"] is not None or result.error["code"] == "interrupted"
        print(message if located else f"{_painted('error:', '31')} {message}", file=sys.stderr)
        if hint:
            print(f"{_painted('hint:', '36')} {hint}", file=sys.stderr)


def _painted(word: str, colour: str) -> str:
    plainly = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return word if plainly else f"\x1b[1;{colour}m{word}\x1b[0m"


def _error(code: str, message: str, hint: str = "", location: Any = None) -> dict[str, Any]:
    return {"code": code, "message": message, "hint": hint, "location": location}


def _usage_hint(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context else ""


def _write_traceback(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    with tempfile.NamedTemporaryFile("w", prefix="selfimprove-", suffix=".traceback.txt", delete=False) as file:
        file.writelines(lines)
    return str(Path(file.name))
