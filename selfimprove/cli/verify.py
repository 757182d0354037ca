"""``selfimprove verify``: judge a run's stored samples by another verifier, and see what flips.

Contract: delegates to `selfimprove.rejudge`; samples nothing and changes nothing that the run made.

See it work: ``selfimprove verify runs/quickstart --with none``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from selfimprove.cli.command import Command, run_argument
from selfimprove.cli.output import Result


@click.command("verify", cls=Command)
@run_argument()
@click.option("--with", "spec", required=True, help="A verifier's name, file.py:function, or a mapping as in a config.")
@click.option("--step", "only", help="Only this step, such as rounds/002/attempt or rounds/002.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Flips to print at most.")
def command(run_dir: Path, spec: str, only: str | None, limit: int) -> Result:
    """Judge stored samples again, by another verifier."""
    from selfimprove.rejudge import rejudge_run, render

    found = rejudge_run(run_dir, _verifier(spec), only)
    return Result(found, render(found, limit))


def _verifier(spec: str) -> dict[str, Any]:
    from selfimprove import plugins
    from selfimprove.errors import ConfigError

    if not spec.lstrip().startswith("{"):
        return {"name": plugins.absolute(spec, Path(os.getcwd()))}
    import yaml

    try:
        given = yaml.safe_load(spec)
    except yaml.YAMLError as error:
        raise ConfigError(f"--with: not a mapping: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"--with: {spec!r} is not a mapping")
    return given
