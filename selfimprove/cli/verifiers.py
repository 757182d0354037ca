"""``selfimprove verifiers``: list the ways of judging, and put one to the test.

Contract: `ls` reads verifier files and imports none; `check` delegates to `selfimprove.audit`, which judges in worker
processes. Exit code 3 if the audit finished and something is wrong.

See it work: ``selfimprove verifiers ls`` and ``selfimprove verifiers check``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from selfimprove.cli.command import Group
from selfimprove.cli.output import Result


@click.group("verifiers", cls=Group)
def command() -> None:
    """List verifiers, and put one to the test."""


@command.command("ls")
def ls() -> Result:
    """List every verifier that a configuration can name."""
    from selfimprove.cli.listing import listing

    return listing("verifier")


@command.command("check")
@click.argument("spec", required=False)
@click.option("--cases", "cases", multiple=True, type=click.Path(path_type=Path), help="A file of cases (JSON lines).")
@click.option("--problems", "problems", help="A data set, as runs take it: .jsonl, .jsonl.gz or .parquet.")
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help="A column's name in --problems.")
@click.option("--limit", type=click.IntRange(min=1), help="That many problems, spread over the file.  [default: all]")
@click.option("--args", "args", multiple=True, metavar="JSON|KEY=VALUE", help="Arguments of the verifier.")
@click.option("--threshold", type=float, help="For a verifier that returns numbers.")
@click.option("--kind", "kinds", multiple=True, help="Only cases of this kind: code, math, judge, ...")
@click.option("--repeat", type=click.IntRange(min=1), default=2, show_default=True, help="Judge everything N times.")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one per core]")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True)
def check(
    spec: str | None,
    cases: tuple[Path, ...],
    problems: str | None,
    columns: tuple[str, ...],
    limit: int | None,
    args: tuple[str, ...],
    threshold: float | None,
    kinds: tuple[str, ...],
    repeat: int,
    workers: int | None,
    timeout_s: float,
) -> Result:
    """Audit a verifier: what is right must pass, what is wrong must fail.

    SPEC is a verifier's name or file.py:function; without it, every verifier that comes with the package judges the
    cases of its kind. Without --cases and --problems, the cases that come with the package are judged.

    The exit code is 0 if nothing is wrong, and 3 if the audit finished and the verifier is not good. See docs/audit.md.
    """
    from selfimprove.audit import check as audit
    from selfimprove.audit.runner import Setting

    _usage(spec, bool(cases), problems, bool(columns) or limit is not None, bool(args) or threshold is not None)
    setting = Setting(repeat, workers, timeout_s)
    given: dict[str, Any] = {"setting": setting, "say": _say, "args": _options(args), "threshold": threshold}
    if problems is not None and spec is not None:
        found = audit.check_problems(spec, problems, columns=_pairs(columns), limit=limit, **given)
    else:
        found = audit.check_cases(spec, cases, kinds=kinds, **given)
    return _result(found)


def _usage(spec: str | None, cases: bool, problems: str | None, shaped: bool, tuned: bool) -> None:
    if problems is not None and cases:
        raise click.UsageError("--cases and --problems are two audits: give one of them")
    if spec is None and (problems is not None or tuned):
        raise click.UsageError("name the verifier: --problems, --args and --threshold are for one")
    if problems is None and shaped:
        raise click.UsageError("--column and --limit belong to --problems")


def _result(audit: Any) -> Result:
    from selfimprove.audit import report

    found = report.data(audit)
    code = report.exit_code(found)
    error = None
    if code:
        hint = "the ids and reasons are listed above (with --json: in data.reasons); docs/audit.md says what they mean"
        error = {"code": "verifier.not_good", "message": report.summary(found), "hint": hint, "location": None}
    return Result(found, report.text(audit, found), code, tuple(audit.warnings), error)


def _say(line: str) -> None:
    print(f"audit: {line}", file=sys.stderr, flush=True)


def _options(words: tuple[str, ...]) -> dict[str, Any]:
    """``{"a": 1}`` or ``a=1``; a value is JSON if it reads as such, else text."""
    options: dict[str, Any] = {}
    for word in words:
        if word.lstrip().startswith("{"):
            try:
                options |= json.loads(word)
            except ValueError as error:
                raise click.BadParameter(f"not JSON: {error}", param_hint="--args") from error
        else:
            options |= {key: _value(text) for key, text in _pairs((word,), "--args").items()}
    return options


def _pairs(words: tuple[str, ...], option: str = "--column") -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"expected KEY=VALUE, got {word!r}", param_hint=option)
        pairs[key] = value
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
